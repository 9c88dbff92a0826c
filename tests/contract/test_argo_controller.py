"""Argo Rollouts' own controllers, 1.10.1, on the templates and steps of docs/gate.md.

``ARGO_CODE=1`` builds it. Kubernetes is the client library's fake, and its clock is 200
times as fast: intervals, limits and delays are those of the docs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from acting.answers import Answer, Ruling, Why
from tests.contract.controlling import (
    ADDRESS,
    NOBODY,
    built,
    lost,
    release_of_docs,
    run,
    written,
)
from tests.integration.gating import Place, Served

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

STOPPED = Ruling(Answer.FROZEN, Why.KILLED, "the file says stop")
PROVIDERS = ("Argo Rollouts", "Kayenta")
"""Headings of the docs."""

ENDS = {
    "healthy": "Successful",
    "regressed": "Failed",
    "inconclusive": "Inconclusive",
    "no_data": "Inconclusive",
    "unreliable": "Inconclusive",
    "never-seen": "Inconclusive",
    "1.2.0+build.7": "Inconclusive",
}


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The controller's program."""
    return built("argo_controller", "ARGO_CODE", tmp_path_factory)


def template(heading: str, url: str, **changes: Any) -> str:
    """The template of the docs for gates elsewhere; fields of its metric that are
    None are left out."""
    whole = yaml.safe_load(written("Argo Rollouts").replace(ADDRESS, url))
    if heading == "Kayenta":
        at = url.removeprefix("http://")
        text = written(heading).replace(ADDRESS.removeprefix("http://"), at)
        whole["spec"]["metrics"] = yaml.safe_load(text)["metrics"]
    (metric,) = whole["spec"]["metrics"]
    metric |= changes
    whole["spec"]["metrics"] = [{k: v for k, v in metric.items() if v is not None}]
    return yaml.safe_dump(whole)


def steps(release: str) -> str:
    """The steps of the docs, about a release."""
    text = written("Argo Rollouts", 1)
    assert f'"{release_of_docs()}"' in text
    return text.replace(release_of_docs(), release)


def case(name: str, text: str, release: str, token: str, **more: Any) -> dict[str, Any]:
    """A run of a template about a release."""
    args = {"service": "shop", "release": release}
    return {"name": name, "template": text, "args": args, "token": token, **more}


def runs(program: Path, url: str, token: str, *releases: str) -> dict[str, Any]:
    """What each provider's runs come to, by heading and release."""
    wanted = {
        (heading, release): f"run-{number}-{heading.split()[0].lower()}"
        for heading in PROVIDERS
        for number, release in enumerate(releases)
    }
    found = run(
        program,
        [
            case(name, template(heading, url), release, token)
            for (heading, release), name in wanted.items()
        ],
    )
    return {place: found[name] for place, name in wanted.items()}


def test_verdicts_end_the_run(served: Served, program: Path) -> None:
    """Three answers of health are a success, one regression is a failure, and doubt is
    inconclusive, which pauses, after all answers that the limit allows."""
    found = runs(program, served.url, served.tokens["read"], *ENDS)
    said = {place: one["phase"] for place, one in found.items()}
    assert said == {(h, r): phase for h in PROVIDERS for r, phase in ENDS.items()}
    for heading in PROVIDERS:
        assert found[heading, "healthy"]["successful"] == 3
        assert found[heading, "regressed"]["failed"] == 1
        assert found[heading, "inconclusive"]["inconclusive"] == 21
        assert found[heading, "healthy"]["error"] == 0


def test_kill_switch_pauses(place: Place, program: Path) -> None:
    """A regression aborts nothing while the kill switch is on; health goes on."""
    with place.served(stopped_here=lambda: STOPPED) as gates:
        found = runs(program, gates.url, gates.tokens["read"], "regressed", "healthy")
    phases = [found[h, r]["phase"] for h in PROVIDERS for r in ("regressed", "healthy")]
    assert phases == ["Inconclusive", "Successful"] * 2


def test_stale_pauses(place: Place, program: Path) -> None:
    """While Kafka is away nothing is aborted, and nothing promoted."""
    with place.served() as gates:
        lost(gates)
        found = runs(program, gates.url, gates.tokens["read"], "healthy", "regressed")
    assert {one["phase"] for one in found.values()} == {"Inconclusive"}


def test_unreachable_is_an_error(served: Served, program: Path) -> None:
    """A gate that is gone, or a token that is unknown, is waited for ten minutes, then
    is an error, and never a success."""
    for url, token in ((NOBODY, "x"), (served.url, "x" * 43)):
        for one in runs(program, url, token, "healthy").values():
            assert (one["phase"], one["error"]) == ("Error", 61)
            assert token not in one["message"] or token == "x"


def test_rollouts_do_as_the_docs_say(place: Place, program: Path) -> None:
    """The steps of the docs: health is promoted, a regression aborts, all else neither
    grows nor is taken back, but a gate that is gone for ten minutes aborts."""
    gone = "gone"
    with (
        place.served() as gates,
        place.served() as away,
        place.served(stopped_here=lambda: STOPPED) as stopped,
    ):
        lost(away)
        urls = {"stopped": stopped.url, "stale": away.url, gone: NOBODY}
        releases = {"stopped": "regressed", "stale": "regressed", gone: "healthy"}
        found = run(
            program,
            [
                case(
                    f"rollout-{name}".replace("_", "-"),
                    template("Argo Rollouts", urls.get(name, gates.url)),
                    "",
                    gates.tokens["read"],
                    steps=steps(releases.get(name, name)),
                )
                for name in ("healthy", "regressed", "no_data", *urls)
            ],
        )
    done = {k: (v["phase"], v["aborted"], v["weight"]) for k, v in found.items()}
    assert done == {
        "rollout-healthy": ("Healthy", False, 100),
        "rollout-regressed": ("Degraded", True, 0),
        "rollout-no-data": ("Paused", False, 20),
        "rollout-stopped": ("Paused", False, 20),
        "rollout-stale": ("Paused", False, 20),
        "rollout-gone": ("Degraded", True, 0),
    }


def test_step_without_count_is_refused(served: Served, program: Path) -> None:
    """Argo takes no step whose run could last for ever."""
    token = served.tokens["read"]
    text = template("Argo Rollouts", served.url, count=None)
    one = case("refused", text, "", token, steps=steps("healthy"))
    found = run(program, [one])["refused"]
    assert found["phase"] == "Degraded"
    assert "runs indefinitely" in found["message"]


def test_traps_that_the_docs_name(served: Served, program: Path) -> None:
    """What the docs warn of is so: a count, or the end of the steps, makes a success of
    doubt, and Kayenta's provider without an interval asks nobody."""
    url, token = served.url, served.tokens["read"]
    endless: dict[str, Any] = {"consecutiveSuccessLimit": None}
    counted = template("Argo Rollouts", url, **endless | {"count": 20})
    background = template("Argo Rollouts", url, **endless | {"count": None})
    bare = {"count": None, "inconclusiveLimit": None, "consecutiveErrorLimit": None}
    once = template("Kayenta", url, interval=None, **endless, **bare)
    found = run(
        program,
        [
            case("counted", counted, "inconclusive", token),
            case("background", background, "inconclusive", token, end_after=3),
            case("bad-background", background, "regressed", token, end_after=3),
            case("once", once, "healthy", token),
        ],
    )
    assert found["counted"]["phase"] == "Successful"
    assert found["background"]["phase"] == "Successful"
    assert found["bad-background"]["phase"] == "Failed"
    assert found["once"]["phase"] == "Error"
    assert "Invalid duration" in found["once"]["message"]
