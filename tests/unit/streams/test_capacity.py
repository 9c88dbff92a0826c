"""Capacity: what the model says of traffics, and that it can be measured anew."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from streams.capacity import drawn, measure
from streams.capacity.model import (
    BUSY_MAX,
    PAST_OF_TODAY,
    Shape,
    Slopes,
    Traffic,
    hottest_limit,
    loads,
    plan,
    read_slopes,
    written,
    written_services,
)
from streams.cli.main import main

ROOT = Path(__file__).parents[3]
ONES = {name: 1.0 for name in Slopes.__struct_fields__}
PLAIN = Slopes(**{**ONES, "array_us": 9.99, "record_us": 1.0, "combined_us": 20.0})
"""An event of an array takes 10 us with its part of a record."""


def test_parts_add_up_to_cores() -> None:
    """Events and windows are shares of a core, and cores are not planned full."""
    traffic = Traffic(events_per_s=30_000, services=10, segments=4)
    share = loads(traffic, PLAIN)
    assert share["events"] == pytest.approx(0.3)
    assert share["windows"] == pytest.approx(10 / 10 * (1 + 9) / 1e6)
    found = plan(traffic, PLAIN)
    assert found.cores == pytest.approx(sum(share.values()) / BUSY_MAX)
    assert (found.workers, found.partitions, found.combiners) == (1, 4, 0)
    assert found.bottleneck == "events"


def test_more_traffic_needs_no_less() -> None:
    """Twice the events, services or segments never need less of anything."""
    small = Traffic(events_per_s=2_000, services=50, segments=2)
    before = plan(small, read_slopes().slopes)
    for name, value in (("events_per_s", 4_000.0), ("services", 100), ("segments", 4)):
        more = msgspec.structs.replace(small, **{name: value})
        after = plan(more, read_slopes().slopes)
        for field in ("cores", "memory_mb_per_worker", "snapshot_mb_per_s"):
            assert getattr(after, field) >= getattr(before, field), (name, field)


@pytest.mark.parametrize(
    ("services", "partitions", "wanted"),
    [(100, 4, 100), (1024, 4, 1024), (4_000, 4, 1024), (20_000, 4, 2_000)],
)
def test_many_services_are_written_in_turns(
    services: int, partitions: int, wanted: float
) -> None:
    """A snapshot writes all of few services, and a tenth of very many."""
    assert written_services(services, partitions) == wanted
    traffic = Traffic(events_per_s=10, shape="aggregate", services=services)
    saved = written(traffic, PLAIN, partitions)
    each = 1 + traffic.series + traffic.releases * traffic.segments * PAST_OF_TODAY
    assert saved.stored == pytest.approx(wanted * each)


def test_hot_service_needs_combiners() -> None:
    """A service hotter than a core gets combiners, and the answer says so."""
    traffic = Traffic(events_per_s=200_000, services=10, hottest_per_s=150_000)
    limit = hottest_limit(traffic, PLAIN)
    assert limit == pytest.approx(60_000, rel=0.01)
    found = plan(traffic, PLAIN)
    assert found.bottleneck == "hottest service"
    assert found.combiners == 6
    assert "aggregates" in found.advice
    assert "HYPERCARE_HOT_PARTITIONS=32" in found.advice


def test_hot_aggregates_can_not_be_combined() -> None:
    """Aggregates beyond a core are for their senders to add up."""
    traffic = Traffic(events_per_s=10**6, shape="aggregate", services=1)
    found = plan(traffic, PLAIN)
    assert found.combiners == 0
    assert "wider windows" in found.advice


@pytest.mark.parametrize("shape", ["single", "array", "aggregate"])
def test_shipped_slopes_are_whole(shape: Shape) -> None:
    """The shipped figures are positive and say which command measured them."""
    source = read_slopes()
    assert all(v >= 0 for v in msgspec.to_builtins(source.slopes).values())
    assert source.slopes.single_us > 0
    assert source.command == "python -m bench.capacity --write"
    assert len(source.checks) == 2
    assert plan(Traffic(events_per_s=100, shape=shape), source.slopes).workers >= 1


def test_slopes_are_measured_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small measurement of this machine gives each slope a sensible size."""
    monkeypatch.setattr(drawn, "SINGLE_SESSIONS", 200)
    monkeypatch.setattr(measure, "FLEET", 4)
    monkeypatch.setattr(measure, "FLEET_WINDOWS", 7)
    monkeypatch.setattr(measure, "MEMORY_FLEET", 3)
    monkeypatch.setattr(measure, "MEMORY_WINDOWS", 5)
    monkeypatch.setattr(measure, "DAY_STEP_MS", 7_200_000)
    said: list[str] = []
    found = measure.measure(PLAIN, said.append)
    assert said
    assert found.single_us > 0.1
    assert found.combined_us > 0.1
    assert found.window_us + 9 * found.series_us > 1.0
    assert 100 < found.single_log_bytes < 1_000
    assert found.id_bytes > 16


def test_capacity_answers_in_json() -> None:
    """`capacity --json` is one object with plan, traffic and source."""
    asked = ["capacity", "--events", "5000", "--services", "50", "--json"]
    found = CliRunner().invoke(main, asked)
    assert found.exit_code == 0
    told = json.loads(found.stdout)
    assert told["plan"]["workers"] >= 1
    assert told["traffic"]["services"] == 50
    assert told["measured"]["commit"]


def test_capacity_is_told_to_people() -> None:
    """Without --json there is a line for each figure, and where they come from."""
    found = CliRunner().invoke(main, ["capacity", "--events", "5000"])
    assert found.exit_code == 0
    assert "partitions of the log" in found.stdout
    assert "measured: " in found.stdout


def test_capacity_page_is_in_step() -> None:
    """docs/capacity.md is what the slopes say."""
    command = [sys.executable, "tools/generate_capacity.py", "--check"]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == 0
