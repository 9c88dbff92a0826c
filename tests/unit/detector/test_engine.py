"""The partition as a whole: order, offsets, environments, reloads, odd names."""

from __future__ import annotations

import json

import pytest

from detector import engine
from detector.engine import Partition
from detector.records import LogRecord
from detector.releases import RELEASES_MAX, UNPROVEN_MAX
from tests.unit.detector.traffic import (
    QUICK,
    Log,
    arms,
    at,
    command,
    deploy,
    error,
    feed,
    harmful,
    recommendations,
    restored,
    rules,
    run,
    said,
    tick,
    usage,
    verdicts,
)

BAD = {"1": (800, 8), "2": (200, 20)}


def test_records_read_again_are_dropped() -> None:
    """Offsets below the next one change nothing."""
    partition = Partition(0, QUICK)
    log = harmful()
    first = feed(partition, log)
    assert feed(partition, log.records[3:]) == []
    assert first == run(log)


def test_gaps_in_offsets_are_fine() -> None:
    """Transaction markers and compaction leave gaps; nothing depends on them."""
    partition = Partition(0, QUICK)
    records = [r._replace(offset=r.offset * 7) for r in harmful().records]
    assert verdicts(feed(partition, records)) == verdicts(run(harmful()))
    assert partition.next_offset == records[-1].offset + 1


def test_good_members_survive_bad_ones() -> None:
    """A bad object in an array is rejected alone, with its place."""
    value = json.dumps([usage(0, "1", 5), {"kind": "usage"}, usage(0, "1", 6)])
    partition = Partition(3, QUICK)
    (letter,) = said(
        partition.apply([LogRecord(9, at(1), None, value.encode())]).records,
        "deadletter",
    )
    assert (letter["partition"], letter["offset"], letter["index"]) == (3, 9, 1)
    assert partition.counts["counted"] == 2


@pytest.mark.parametrize("value", [None, b"", b"\xff\xfe", b"[]", b"null", b"3", b"{}"])
def test_any_bytes_are_answered(value: bytes | None) -> None:
    """Whatever a record holds, it is applied and the partition goes on."""
    partition = Partition(0, QUICK)
    outputs = partition.apply([LogRecord(0, at(0), None, value)]).records
    assert [o.topic for o in outputs] == ["deadletter"]
    assert partition.next_offset == 1


def test_future_records_are_dead_letters() -> None:
    """A record beyond the skew is refused with the fix, and opens nothing."""
    log = Log().add(at(0), usage(100, "1", 5))
    partition = Partition(0, QUICK)
    (letter,) = said(feed(partition, log), "deadletter")
    assert letter["reason"] == "future"
    assert "clock" in letter["detail"]
    assert not next(iter(partition.scopes.values())).open


def test_environments_are_apart() -> None:
    """A bad release in staging says nothing about production."""
    log = (
        Log()
        .windows(range(6), {"1": (800, 8)})
        .windows(range(6), {"1": (800, 8)}, environment="staging")
    )
    log.add(at(6), deploy(6, environment="staging"))
    for window in range(6, 18):
        log.windows([window], BAD, environment="staging")
        log.windows([window], {"1": (800, 8), "2": (200, 2)})
    outputs = run(log)
    assert {v["environment"] for v in said(outputs, "verdicts")} == {"staging"}
    assert {r["environment"] for r in recommendations(outputs)} == {"staging"}


def test_service_may_be_called_all() -> None:
    """A service named like the broadcast is judged like any other."""
    log = Log()
    for record in harmful().records:
        value = (record.value or b"").replace(b'"shop"', b'"all"')
        log.records.append(record._replace(value=value))
    assert verdicts(run(log)) == verdicts(run(harmful()))
    assert recommendations(run(log))[0]["service"] == "all"


def test_ticks_close_windows() -> None:
    """When a service falls silent ticks alone lead to the verdict."""
    log = harmful(0).windows(range(6, 9), {"1": (800, 8), "2": (200, 2)})
    before = run(log)
    found = run(log.ticks(range(10, 60)))
    assert found[: len(before)] == before
    assert verdicts(found)[-1] == "no_data"
    assert said(found, "verdicts")[-1]["reasons"] == ["went_silent"]


def test_tick_of_one_service() -> None:
    """A tick that names a service moves that service alone."""
    partition = Partition(0, QUICK)
    log = Log().add(at(1), usage(0, "1", 1), usage(0, "1", 1, service="cart"))
    log.add(at(50), tick(50, "cart"))
    feed(partition, log)
    marks = {k.service: s.watermark_ms for k, s in partition.scopes.items()}
    assert marks == {"shop": at(1), "cart": at(50)}


def test_tick_is_part_of_snapshots() -> None:
    """A watermark moved by a tick alone makes the scope dirty."""
    partition = Partition(0, QUICK)
    feed(partition, Log().add(at(1), usage(0, "1", 1)))
    partition.dirty.clear()
    partition.apply([LogRecord(1, at(1) + 5, None, json.dumps(tick(2)).encode())])
    assert partition.dirty == set(partition.scopes)


def test_wants_tick_only_when_waiting() -> None:
    """An empty partition never asks for ticks; one with an open window does."""
    partition = Partition(0, QUICK)
    assert not partition.wants_tick(at(1000))
    feed(partition, Log().add(at(1), usage(0, "1", 1)))
    assert partition.wants_tick(at(2))
    assert not partition.wants_tick(at(1))
    feed(partition, [LogRecord(1, at(9), None, json.dumps(tick(9)).encode())])
    assert not partition.wants_tick(at(1000))


def test_bad_rules_change_nothing() -> None:
    """A rule set that does not load is a dead letter; the old one stays."""
    partition = Partition(0, QUICK)
    log = Log().add(at(0), usage(0, "1", 1))
    log.add(at(1), {**command(1, "ruleset", rules_text="{}"), "service": "all"})
    (letter,) = said(feed(partition, log), "deadletter")
    assert letter["reason"] == "ruleset"
    assert partition.rulebook.default.hash == QUICK.hash


def test_service_keeps_own_rules() -> None:
    """A rule set addressed to one service is in force there only."""
    partition = Partition(0, QUICK)
    other = rules("alpha: 0.01")
    text = other.to_canonical_json().decode()
    feed(partition, Log().add(at(0), command(0, "ruleset", rules_text=text)))
    book = partition.rulebook
    assert book.find("shop", "production").rules_hash == other.hash
    assert book.find("cart", "production").rules_hash == QUICK.hash


def test_jump_of_arrival_decides_once() -> None:
    """Hours of silence close what is open once, in order, with one arrival time."""
    log = harmful(8)
    log.add(at(5000), *arms(4999, {"1": (800, 8), "2": (200, 2)}))
    found = said(run(log), "verdicts")
    ends = [v["window_end"] for v in found]
    assert ends == sorted(ends)
    assert len(recommendations(run(log))) == 1


def test_clock_never_runs_backwards() -> None:
    """A record with an older arrival time is decided by the newest one so far."""
    partition = Partition(0, QUICK)
    log = harmful(6)
    newest = log.records[-1].timestamp_ms
    log.add(newest - 8_000, *arms(11, BAD), tick(13))
    feed(partition, log)
    assert partition.arrival_ms == newest
    (scope,) = partition.scopes.values()
    assert (scope.future, scope.late) == (0, 0)


def test_telemetry_may_precede_deploy() -> None:
    """A deploy event that arrives after the first traffic still opens a watch."""
    log = Log().windows(range(6), {"1": (800, 8)}).windows(range(6, 8), BAD)
    log.add(at(8), deploy(6, predecessor="1"))
    log.windows(range(8, 20), BAD)
    assert recommendations(run(log))[0]["action"] == "rollback"


def test_abort_of_nothing_is_harmless() -> None:
    """Ending a release that never started, or ended before, says nothing."""
    log = Log().add(at(0), deploy(0, phase="aborted"), deploy(0, phase="rolled_back"))
    assert run(log.windows(range(5), {"1": (10, 1)})) == []


def test_ended_inferred_release_may_vanish() -> None:
    """A thousand names right after an abort crash nothing and evict no baseline."""
    log = Log().windows(range(61), {"1": (800, 8)}).windows(range(61, 70), BAD)
    log.add(at(70), deploy(70, phase="aborted"))
    names = [usage(70, f"x{i}", 0) for i in range(1000)]
    log.add(at(70) + 1, *names).windows(range(70, 75), {"1": (800, 8)})
    partition = Partition(0, QUICK)
    feed(partition, log)
    (scope,) = partition.scopes.values()
    assert "1" in scope.registry.releases


def test_scanner_leaves_no_memory() -> None:
    """Twenty thousand release names with errors leave bounded tables behind."""
    log = harmful(4)
    for index in range(200):
        flood = [error(9, f"x{index}.{i}", 1) for i in range(100)]
        log.add(at(10) + index, *flood)
    log.windows(range(11, 15), BAD)
    partition = Partition(0, QUICK)
    feed(partition, log)
    (scope,) = partition.scopes.values()
    assert len(scope.registry.releases) == 2 + UNPROVEN_MAX
    assert len(scope.error_rates) <= 3 + UNPROVEN_MAX
    entries = scope.catalogue.entries.values()
    assert all(len(entry.counts) <= 2 * RELEASES_MAX for entry in entries)


def test_names_within_a_window_fold() -> None:
    """A thousand names in one window keep a few cells, and every unit counts."""
    log = Log().windows(range(3), {"1": (800, 8)})
    names = [usage(3, f"x{i}", 1) for i in range(1000)]
    for low in range(0, 1000, 100):
        log.add(at(4), *names[low : low + 100])
    partition = Partition(0, QUICK)
    feed(partition, log)
    (scope,) = partition.scopes.values()
    (window,) = [w for w in scope.open.values() if w.end_ms == at(4)]
    assert len(window.cells) == 1 + UNPROVEN_MAX
    assert sum(cell.requests.units for cell in window.cells.values()) == 1000
    assert len(scope.health) == len(scope.registry.releases) == 1 + UNPROVEN_MAX


def test_overflow_is_never_judged() -> None:
    """Candidates beyond the limit are traffic: nobody rolls back "other"."""
    log = Log().windows(range(6), {"1": (800, 8)})
    for index in range(2, 90):
        log.add(at(6) + index, deploy(6, str(index), predecessor="1"))
    log.windows(range(6, 20), {"1": (800, 8), "2": (200, 2), "89": (200, 20)})
    outputs = run(log)
    assert recommendations(outputs) == []
    assert "other" not in {v["release"] for v in said(outputs, "verdicts")}


def test_silent_scopes_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit the longest silent scope goes; judged ones stay."""
    monkeypatch.setattr(engine, "SCOPES_MAX", 3)
    log = harmful(6)
    partition = Partition(0, QUICK)
    for index in range(6):
        log.add(at(13) + index, usage(12, "1", 1, service=f"s{index}"))
    feed(partition, log)
    assert len(partition.scopes) == 3
    assert ("shop", "production") in partition.scopes
    assert partition.counts["overflow.scopes"] == 4
    assert ("s0", "production") in partition.gone


def test_hourly_sender_beside_fast_one() -> None:
    """One hourly aggregate among windows of 10 s widens them and loses no unit."""
    log = harmful(3)
    log.add(at(360) + 500, usage(0, "1", 5000, window_s=3600, environment="production"))
    log.windows(range(360, 720), BAD).ticks(range(725, 730))
    partition = Partition(0, QUICK)
    outputs = feed(partition, log)
    (scope,) = partition.scopes.values()
    assert scope.width_ms == 3_600_000
    assert not [o for o in outputs if o.topic == "deadletter"]


def test_full_memory_counts_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit of remembered ids copies count twice, and the overflow shows;
    closed windows give their room back."""
    monkeypatch.setattr("detector.engine.REMEMBERED_MAX", 3)
    partition = Partition(0, QUICK)
    names = [f"u{number}" for number in range(5)] + ["u0"]
    log = Log().add(at(1), *(usage(0, "1", 1, id=name) for name in names))
    feed(partition, log)
    assert partition.counts["overflow.ids"] == 3
    assert partition.ids_held == restored(partition).ids_held == 3
    log.add(at(60), usage(59, "1", 1, id="later"))
    feed(partition, log)
    assert partition.ids_held == 0


def test_late_failures_hold_no_room() -> None:
    """What is counted by its age is in no window, so that none gives its id back."""
    log = Log().add(at(0), deploy(0, "1", strategy="mobile"))
    log.windows(range(20), {"1": (100, 0)})
    log.add(at(21), error(2, "1", 1, id="late"), usage(20, "1", 9, id="now"))
    partition = Partition(0, QUICK)
    feed(partition, log)
    assert (partition.counts["counted"], partition.counts["late"]) == (23, 0)
    assert partition.ids_held == restored(partition).ids_held == 1


def test_wider_windows_hold_an_id_once() -> None:
    """Ids of windows that become one count once, as after a restore."""
    log = Log()
    for window in range(2):
        log.add(at(1), usage(window, "1", 1, id="same"))
    log.add(at(2), usage(0, "1", 9, window_s=60, id="wide"))
    partition = Partition(0, QUICK)
    feed(partition, log)
    assert partition.ids_held == restored(partition).ids_held == 2


def test_vanished_release_ends_its_episode() -> None:
    """When nobody uses a harmful release any more its recommendation expires: it was
    taken back without a word, and an alert must not stand for a week."""
    log = harmful()
    log.windows(range(18, 60), {"1": (1000, 10)})
    outputs = run(log)
    assert verdicts(outputs)[-1] == "no_data"
    assert [r["state"] for r in recommendations(outputs)][-1] == "expired"
