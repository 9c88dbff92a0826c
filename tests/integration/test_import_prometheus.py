"""History of a real Prometheus: imported, judged, and counted to the last request."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from streams.cli.main import main
from streams.prometheus import importing
from tests.deploy.scraped import Prometheus, prometheus
from tests.rules.programs import run

START_S = 1_700_000_000
"""On the grid of windows of 10 s, long ago: retention counts from the newest block."""

SCRAPES = 300
DEPLOY = 100
RESTART = 150
AWAY = range(170, 174)
"""Scrapes that did not happen: Prometheus was away."""

HIDDEN = range(200, 204)
"""Scrapes of one process of each service that failed."""

MAPPING = """\
version: 1
sources:
  - requests: http_requests_total{job=~"shop|cart"}
    failures: http_requests_total{job=~"shop|cart",code=~"5.."}
    service: {label: job}
    environment: {label: env, const: production}
    release: {label: version, info: build_info, by: [job, instance]}
    attrs:
      region: {label: region}
"""


@dataclass
class Process:
    """One process and its counters, as Prometheus saw them."""

    labels: str
    version: str
    begins: int = 0
    failing: float = 0.02
    restarts: int = -1
    is_hidden: bool = False

    def is_read(self, scrape: int) -> bool:
        """Whether a scrape brought its samples."""
        return scrape not in AWAY and not (self.is_hidden and scrape in HIDDEN)

    def scraped(self, rng: np.random.Generator, counted: Counter[str]) -> list[str]:
        """Lines of OpenMetrics; ``counted`` gets what a window can be told of."""
        values = {"200": 0, "500": 0}
        lines: dict[str, list[str]] = {"200": [], "500": []}
        for scrape in range(self.begins, SCRAPES):
            if scrape == self.restarts:
                values = {"200": 0, "500": 0}
            total = int(rng.poisson(150))
            bad = int(rng.binomial(total, self.failing))
            for code, more in (("200", total - bad), ("500", bad)):
                values[code] += more
            if not self.is_read(scrape):
                continue
            # The first window is a base, and so is the first one after a gap.
            if scrape > 0 and self.is_read(scrape - 1):
                counted[f"{self.version} all"] += total
                counted[f"{self.version} bad"] += bad
            for code, value in values.items():
                # A series of failures is there once there was one.
                if value:
                    lines[code].append(
                        f'http_requests_total{{{self.labels},code="{code}"}} {value} '
                        f"{START_S + scrape * 10 - 3}"
                    )
        return [*lines["200"], *lines["500"]]

    def info(self) -> list[str]:
        """Its version at each scrape."""
        return [
            f'build_info{{{self.labels},version="{self.version}"}} 1 '
            f"{START_S + scrape * 10 - 3}"
            for scrape in range(self.begins, SCRAPES)
            if self.is_read(scrape)
        ]


def processes() -> list[Process]:
    """Two services with a release each: cart's is well, shop's fails."""
    made = []
    for job, failing, old, new in (
        ("cart", 0.02, "1.0", "1.1"),
        ("shop", 0.12, "2.3", "2.4"),
    ):
        for number in range(3):
            region = "eu" if number else "us"
            labels = f'job="{job}",instance="{job}-{number}",region="{region}"'
            restarts = RESTART if number == 0 else -1
            made.append(Process(labels, old, restarts=restarts, is_hidden=number == 1))
        for number in range(3, 5):
            region = "eu" if number == 3 else "us"
            labels = f'job="{job}",instance="{job}-{number}",region="{region}"'
            made.append(Process(labels, new, DEPLOY, failing))
    return made


@pytest.fixture(scope="module")
def counted() -> Counter[str]:
    """What was counted, by version."""
    return Counter()


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, counted: Counter[str]
) -> Iterator[Prometheus]:
    """A real Prometheus on a history that promtool wrote."""
    folder = tmp_path_factory.mktemp("prometheus")
    # One fixed seed: the same history in every run.
    rng = np.random.default_rng(11)
    made = processes()
    lines = ["# TYPE http_requests counter"]
    for one in made:
        lines += one.scraped(rng, counted)
    lines.append("# TYPE build_info gauge")
    for one in made:
        lines += one.info()
    text = folder / "history.txt"
    text.write_text("\n".join([*lines, "# EOF", ""]), encoding="utf-8")
    run("promtool", "tsdb", "create-blocks-from", "openmetrics", text, folder / "data")
    with prometheus(folder, {"global": {"scrape_interval": "1h"}}) as running:
        running.wait_for("vector(1)")
        yield running


def imported(
    server: Prometheus,
    folder: Path,
    *more: str,
    mapping: str = MAPPING,
    begins: int = 0,
) -> Result:
    """Run the import; the history is in ``history.jsonl``."""
    (folder / "map.yaml").write_text(mapping, encoding="utf-8")
    arguments = [
        "import", "prometheus", server.address, f"--map={folder}/map.yaml",
        f"--start={START_S + 10 * begins}", f"--end={START_S + 10 * SCRAPES}",
        f"--output={folder}/history.jsonl", *more,
    ]  # fmt: skip
    return CliRunner().invoke(main, arguments)


def members_of(history: Path) -> list[dict[str, Any]]:
    """Every event of a history, in order."""
    return [one for x in history.read_text().splitlines() for one in json.loads(x)]


def test_bad_release_is_taken_back_good_one_not(
    server: Prometheus,
    counted: Counter[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every request that a window can be told of is there, once; the backtest of it
    finds the bad release and leaves the good one alone; a second import is the same.
    """
    done = imported(server, tmp_path)
    assert done.exit_code == 0, done.stderr
    history = tmp_path / "history.jsonl"
    told: Counter[str] = Counter()
    members = members_of(history)
    for one in members:
        if one["kind"] == "usage":
            told[f"{one['release']} all"] += one["count"]
            told[f"{one['release']} bad"] += one["outcomes"]["server_error"]
    assert counted == told
    assert [("cart", "1.1", "1.0"), ("shop", "2.4", "2.3")] == [
        (one["service"], one["release"], one["predecessor"])
        for one in members
        if one["kind"] == "deploy"
    ]
    assert "try next: hypercare backtest" in done.stderr
    judged = CliRunner().invoke(main, ["backtest", str(history), "--json", "--jobs=1"])
    assert judged.exit_code == 0, judged.stderr
    rows = json.loads(judged.stdout)["trials"][0]["rows"]
    assert [("cart", None), ("shop", "rollback")] == [
        (row["service"], row["action"]) for row in rows
    ]
    # The same in pieces, as those of a longer history.
    monkeypatch.setattr(importing, "POINTS_MAX", 50)
    (tmp_path / "again").mkdir()
    assert imported(server, tmp_path / "again").exit_code == 0
    assert history.read_bytes() == (tmp_path / "again/history.jsonl").read_bytes()


def test_deploys_can_come_from_an_info_metric(
    server: Prometheus, tmp_path: Path
) -> None:
    """Named as deploys it says the same as the requests do."""
    deploys = """\
deploys:
  - info: build_info
    service: {label: job}
    release: {label: version}
"""
    found = []
    for name, mapping in (("a", MAPPING), ("b", MAPPING + deploys)):
        (tmp_path / name).mkdir()
        done = imported(server, tmp_path / name, mapping=mapping)
        assert done.exit_code == 0, done.stderr
        found.append(members_of(tmp_path / name / "history.jsonl"))
    assert found[0] == found[1]
    assert 2 == sum(one["kind"] == "deploy" for one in found[1])


@pytest.mark.parametrize(
    ("begins", "first"), [(AWAY[1], AWAY.stop), (HIDDEN[1], HIDDEN[1])]
)
def test_what_was_there_before_the_start_is_not_new(
    server: Prometheus, tmp_path: Path, begins: int, first: int
) -> None:
    """The range begins while Prometheus is away, or does not reach one process: the
    first samples after that are bases, as all had been there before, and no release is
    a deploy.
    """
    done = imported(server, tmp_path, begins=begins)
    assert done.exit_code == 0, done.stderr
    members = members_of(tmp_path / "history.jsonl")
    assert {"usage"} == {one["kind"] for one in members}
    assert (START_S + 10 * first) * 1000 == min(one["ts"] for one in members)
    assert max(one["count"] for one in members) < 10_000


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("http_requests_total{job=~", "http_requests_totl{job=~", "matches nothing"),
        ("{label: job}", "{label: app}", "it has code, instance, job, region"),
        ("label: version", "label: revision", "it has instance, job, region, version"),
        ('"5.."', '"5..("', "error parsing regexp"),
    ],
)
def test_slips_of_the_mapping_are_named(
    server: Prometheus, tmp_path: Path, old: str, new: str, said: str
) -> None:
    """What matches nothing, or what Prometheus refuses, is said; no file is left."""
    done = imported(server, tmp_path, mapping=MAPPING.replace(old, new))
    assert (done.exit_code, True) == (2, said in done.stderr), done.stderr
    assert not (tmp_path / "history.jsonl").exists()


def test_too_many_series_are_refused(server: Prometheus, tmp_path: Path) -> None:
    """The limit is checked before anything is read."""
    done = imported(server, tmp_path, "--series-max=3")
    assert (done.exit_code, True) == (2, "raise --series-max" in done.stderr)


def test_windows_below_the_scrape_interval_are_refused(
    server: Prometheus, tmp_path: Path
) -> None:
    """With more windows than samples nothing can be counted: it says which would do."""
    done = imported(server, tmp_path, "--step=5s")
    assert (done.exit_code, True) == (2, "give --step 10s or more" in done.stderr)
