"""Readiness is our own progress: restored, read, and written down."""

from __future__ import annotations

import pytest

from streams.families import RulesStatus
from streams.progress import LaneProgress, LaneState
from streams.readiness import LoopWatch, Problem, Readiness

RULES = RulesStatus(3, True)


def lane(**changes: object) -> LaneProgress:
    """A ready partition that has everything applied and saved."""
    values: dict[str, object] = {
        "partition": 2,
        "state": LaneState.READY,
        "epoch": 1,
        "next_offset": 100,
        "highwater": 100,
        "saved": 100,
        "idle_s": 600.0,
        "snapshot_age_s": 600.0,
        "snapshot_bytes": 4096,
        "outputs_pending": 0,
        "reason": "",
    }
    return LaneProgress(**{**values, **changes})  # type: ignore[arg-type]


def problems(
    *lanes: LaneProgress, rules: RulesStatus = RULES, is_member: bool = True
) -> list[Problem]:
    """What a fresh look finds."""
    readiness = Readiness(snapshot_interval_s=2.0)
    return readiness.problems(lanes, rules, 0.0, is_member=is_member)


def test_silent_partition_is_ready() -> None:
    """Nothing to read and nothing to save is no fault, however long it lasts."""
    assert problems(lane()) == []
    assert problems(lane(highwater=None)) == []


def test_standby_member_is_ready() -> None:
    """A member without partitions is ready; who never joined is not."""
    assert problems() == []
    (found,) = problems(is_member=False)
    assert "HYPERCARE_KAFKA" in found.fix


def test_missing_rules_are_named() -> None:
    """Without rules nothing can be judged; the loader's words are passed on."""
    (found,) = problems(lane(), rules=RulesStatus(0, False, "rules.yaml:3:1: no"))
    assert found.what == "rules.yaml:3:1: no"


def test_refused_reload_stays_ready() -> None:
    """The old rule set is in force: a typo must not take the worker away."""
    assert problems(lane(), rules=RulesStatus(3, False, "typo")) == []


@pytest.mark.parametrize("state", [s for s in LaneState if s is not LaneState.READY])
def test_only_ready_lanes_pass(state: LaneState) -> None:
    """Every other state is named, with its partition and reason."""
    (found,) = problems(lane(state=state, reason="retention was faster"))
    assert found.partition == 2
    if state is LaneState.BLIND:
        assert "retention was faster" in found.what
    else:
        assert state.value in found.what
    assert found.fix


def test_lag_matters_only_without_progress() -> None:
    """Many records may wait while some are applied, few may always wait."""
    behind = {"highwater": 200_000}
    assert problems(lane(**behind, idle_s=1.0)) == []
    assert problems(lane(highwater=200, idle_s=900.0)) == []
    (found,) = problems(lane(**behind, idle_s=31.0))
    assert "199900 records wait" in found.what


def test_snapshot_must_follow_in_time() -> None:
    """More than three intervals with unsaved records and no new snapshot is a fault."""
    readiness = Readiness(snapshot_interval_s=2.0)
    stuck = [lane(next_offset=150)]
    found = []
    for now_s in (0.0, 5.9, 6.1):
        found.append(readiness.problems(stuck, RULES, now_s, is_member=True))
    assert found[:2] == [[], []]
    assert "no snapshot was acknowledged for 6.1 s" in found[2][0].what


def test_old_snapshot_with_fresh_news_is_fine() -> None:
    """After a silent night the first record does not make the worker unready."""
    readiness = Readiness(snapshot_interval_s=2.0)
    old = lane(snapshot_age_s=30_000.0)
    assert readiness.problems([old], RULES, 0.0, is_member=True) == []
    news = lane(snapshot_age_s=30_000.0, next_offset=101)
    assert readiness.problems([news], RULES, 100.0, is_member=True) == []


def test_moving_snapshots_are_fine() -> None:
    """Under steady traffic something is always unsaved; only standstill counts."""
    readiness = Readiness(snapshot_interval_s=2.0)
    for second in range(60):
        now = lane(next_offset=100 + second, saved=100 + second // 2 * 2 - 2)
        assert readiness.problems([now], RULES, float(second), is_member=True) == []


def test_new_owner_starts_anew() -> None:
    """A partition that comes back with another epoch has its whole time again."""
    readiness = Readiness(snapshot_interval_s=2.0)
    readiness.watch([lane(next_offset=150)], 0.0)
    again = [lane(next_offset=150, epoch=2)]
    assert readiness.problems(again, RULES, 60.0, is_member=True) == []


def test_first_snapshot_is_awaited() -> None:
    """Until one snapshot is acknowledged nothing shows that state can be kept."""
    (found,) = problems(lane(saved=None))
    assert "first snapshot" in found.what


def test_beats_on_time_are_no_stall() -> None:
    """A punctual loop reports no stall; a late beat reports by how much."""
    watch = LoopWatch(0.5)
    assert [watch.beat(s) for s in (0.0, 0.5, 1.0, 3.5)] == [0.0, 0.0, 0.0, 2.0]
    assert watch.longest_s(3.5) == 2.0


def test_stall_of_long_ago_is_forgotten() -> None:
    """The longest stall is that of the last minute."""
    watch = LoopWatch(0.5)
    for now_s in (0.0, 20.0, 20.5, 90.0, 90.5):
        watch.beat(now_s)
    assert watch.longest_s(90.5) == 69.0
    watch.beat(151.0)
    assert watch.longest_s(151.0) == 60.0


def test_only_present_stall_is_unhealthy() -> None:
    """A loop that hangs now is unhealthy; one that recovered is not killed."""
    watch = LoopWatch(0.5)
    watch.beat(0.0)
    assert watch.problems(10.0) == []
    (found,) = watch.problems(11.0)
    assert "10.5 s" in found.what
    watch.beat(11.0)
    assert watch.problems(11.0) == []
