"""Back and forth on a real log: refused, frozen for all who read it, told, thawed."""

from __future__ import annotations

import secrets
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families

from detector.verdicts import RecommendationRecord, Verdict, recommendation_id
from streams.cli.main import main
from streams.gate.executions import Executions
from streams.kafka_local import LocalKafka
from streams.wallclock import monotonic_s, now_ms
from tests.integration.gating import Place, Served, rollback_of, verdict_of
from tests.integration.support import until

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


def again(release: str) -> RecommendationRecord:
    """A release of the shop whose harm began just now, after the first return."""
    start_ms = now_ms()
    name = recommendation_id("shop", "production", release, None, start_ms)
    return rollback_of(("shop", release), id=name, episode_start_ms=start_ms)


def said(place: Place, gates: Served, wanted: RecommendationRecord) -> None:
    """Workers have recommended it, and the gates have read that."""
    found = verdict_of(
        (wanted.service, wanted.release),
        verdict=Verdict.REGRESSED,
        recommendation_id=wanted.id,
    )
    place.verdict(found)
    place.recommend(wanted)
    path = f"/v1/gate?service=shop&release={wanted.release}"
    until(
        lambda: (
            wanted.id in gates.ask(path).text
        ),  # one that is held stands in the reason
        what="the board has read it",
        limit_s=60,
    )


def claimed(gates: Served, release: str, token: str | None = None) -> Any:
    """What a job hears that asks for the lease."""
    body = {"service": "shop", "release": release, "token": token or new()}
    return gates.ask("/v1/claims", body).body


def new() -> str:
    """A name for a claim."""
    return secrets.token_hex(16)


def frozen(gates: Served) -> dict[str, float]:
    """The gauge that the alert is made of."""
    families = text_string_to_metric_families(gates.ask("/metrics").text)
    return {
        sample.labels["service"]: sample.value
        for family in families
        if family.name == "hypercare_ping_pong_frozen"
        for sample in family.samples
    }


def run(place: Place, *words: str) -> str:
    """A command of a person, in this process."""
    env = {
        "HYPERCARE_KAFKA": place.settings.kafka,
        "HYPERCARE_PREFIX": place.settings.prefix,
        "HYPERCARE_GROUP": place.settings.group,
        "USER": "ada",
    }
    done = CliRunner().invoke(main, list(words), env=env)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_ping_pong_is_frozen_everywhere(kafka: LocalKafka, tmp_path: Path) -> None:
    """Rolled back, deployed again, bad again: refused, frozen for a second gate, for
    a reader that starts now, and for the gauge that pages, until a person thaws the
    service."""
    release = "2.0.0"
    with closing(Place(kafka.bootstrap, "pingpong", tmp_path)) as place:
        place.pulse()
        with place.served() as one, place.served() as other:
            said(place, one, again("2.0.0"))
            token = new()
            assert claimed(one, "2.0.0", token)["answer"] == 10
            told = {"token": token, "end": "executed"}
            assert one.ask("/v1/outcomes", told).status == 200
            assert frozen(one) == {}
            place.pulse()

            wanted = again(release)
            said(place, one, wanted)
            refused = claimed(one, release)
            assert (refused["answer"], refused["why"]) == (22, "ping_pong")
            place.pulse()
            said(place, other, wanted)
            assert (claimed(other, release)["why"], frozen(other)) == (
                "frozen",
                {"shop": 1},
            )
            listed = run(place, "executions", "list")
            assert "freeze shop by hypercare" in listed
            assert wanted.id in listed
            kept = one.ask("/v1/executions").body["ping_pong"]
            assert kept["shop"]["actor"] == "hypercare"
            reader = Executions(place.settings, monotonic_s=monotonic_s)
            with closing(reader):
                reader.catch_up()
                assert list(reader.ledger.known.ping_pong) == ["shop"]

            run(place, "order", "thaw", "--why", "not by name")
            assert claimed(other, release)["why"] == "frozen"
            run(place, "order", "thaw", "--service", "shop", "--why", "mended")
            for gates in (one, other):
                assert frozen(gates) == {"shop": 0}
            place.pulse()
            # No more back and forth: what holds it now is what holds any second one.
            assert claimed(other, release)["why"] == "cooldown"
            ordered = ("approve", wanted.id, "--action", "rollback", "--why", "seen")
            run(place, "order", *ordered)
            assert claimed(other, release)["answer"] == 10
