"""Is this worker alive, and does it make progress: our own word, from plain values.

Faust calls itself healthy as long as its services run. A worker is ready when every
partition it holds is restored, read, and written down.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from msgspec import Struct

from streams.families import RulesStatus, has_unsaved
from streams.progress import LaneProgress, LaneState

STALL_LIMIT_S = 10.0
STALL_MEMORY_S = 60.0
LAG_MAX_RECORDS = 10_000
IDLE_MAX_S = 30.0
SNAPSHOT_INTERVALS_MAX = 3


class Problem(Struct, frozen=True):
    """One thing that is wrong, in words, and what helps."""

    what: str
    fix: str
    partition: int | None = None


class LoopWatch:
    """How late does the event loop wake its timers up?

    Parameters
    ----------
    interval_s : float
        Time between two beats that were asked for.
    """

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._last_s: float | None = None
        self._stalls: deque[tuple[float, float]] = deque()

    def beat(self, now_s: float) -> float:
        """Note a beat; return by how much it came later than asked."""
        last_s, self._last_s = self._last_s, now_s
        stall_s = 0.0 if last_s is None else max(0.0, now_s - last_s - self._interval_s)
        self._stalls.append((now_s, stall_s))
        while self._stalls[0][0] < now_s - STALL_MEMORY_S:
            self._stalls.popleft()
        return stall_s

    def overdue_s(self, now_s: float) -> float:
        """By how much the next beat is late already."""
        if self._last_s is None:
            return 0.0
        return max(0.0, now_s - self._last_s - self._interval_s)

    def longest_s(self, now_s: float) -> float:
        """Longest stall of the last minute, one that has not ended included."""
        return max(self.overdue_s(now_s), *(s for _, s in self._stalls), 0.0)

    def problems(self, now_s: float) -> list[Problem]:
        """Say so if the loop is blocked now; what is over must not kill a process."""
        stall_s = self.overdue_s(now_s)
        if stall_s <= STALL_LIMIT_S:
            return []
        what = (
            f"the event loop has not woken its timers for {stall_s:.1f} s, limit "
            f"{STALL_LIMIT_S:g} s"
        )
        fix = "give the process more CPU or more partitions to other workers"
        return [Problem(what, fix)]


class Readiness:
    """Which partitions do not make the progress they should?

    Parameters
    ----------
    snapshot_interval_s : float
        Longest time between two snapshots of a changed partition.
    lag_max_records : int
        Records that may wait; more are no problem while some are applied.
    """

    def __init__(
        self, *, snapshot_interval_s: float, lag_max_records: int = LAG_MAX_RECORDS
    ) -> None:
        self._unsaved_max_s = SNAPSHOT_INTERVALS_MAX * snapshot_interval_s
        self._lag_max_records = lag_max_records
        self._unsaved: dict[tuple[int, int], tuple[int | None, float]] = {}

    def watch(self, lanes: Sequence[LaneProgress], now_s: float) -> None:
        """Look how long each partition has had the same snapshot and more to save.

        The age of a snapshot alone says nothing: a partition without news needs no
        new one, and is old the moment news arrive.
        """
        before, self._unsaved = self._unsaved, {}
        for lane in lanes:
            if lane.state is LaneState.READY and has_unsaved(lane):
                key = (lane.partition, lane.epoch)
                saved, since_s = before.get(key, (lane.saved, now_s))
                since_s = since_s if saved == lane.saved else now_s
                self._unsaved[key] = (lane.saved, since_s)

    def problems(
        self,
        lanes: Sequence[LaneProgress],
        rules: RulesStatus,
        now_s: float,
        *,
        is_member: bool,
    ) -> list[Problem]:
        """Everything that keeps the worker from being ready, empty if it is.

        A member of the group without partitions is ready: it stands by.
        """
        self.watch(lanes, now_s)
        found: list[Problem] = []
        if not is_member:
            found.append(
                Problem(
                    "the worker has not been given its partitions yet",
                    "wait; if it lasts, check that Kafka answers at HYPERCARE_KAFKA",
                )
            )
        if rules.loaded == 0:
            fix = "run `hypercare rules check` on the rule file and correct it"
            found.append(Problem(rules.problem or "no rules are loaded", fix))
        for lane in lanes:
            found += self._lane(lane, now_s)
        return found

    def _lane(self, lane: LaneProgress, now_s: float) -> list[Problem]:
        state = self._state(lane)
        if state is not None:
            return [state]
        found = []
        lag = 0 if lane.highwater is None else lane.highwater - lane.next_offset
        if lag > self._lag_max_records and lane.idle_s > IDLE_MAX_S:
            what = (
                f"{lag} records wait and none was applied for {lane.idle_s:.0f} s: "
                f"next offset {lane.next_offset}"
            )
            fix = "check Kafka and the log of this worker; restart it if it hangs"
            found.append(Problem(what, fix, lane.partition))
        if lane.held_back:
            what = f"{lane.outputs_pending} outputs can not leave: {lane.held_back}"
            fix = "make the topic take records (`hypercare topics check`)"
            found.append(Problem(what, fix, lane.partition))
        unsaved = self._unsaved.get((lane.partition, lane.epoch))
        if unsaved is not None and now_s - unsaved[1] > self._unsaved_max_s:
            what = (
                f"no snapshot was acknowledged for {now_s - unsaved[1]:.1f} s, limit "
                f"{self._unsaved_max_s:g} s: verdicts can not leave"
            )
            fix = "check that the state topic can be written (`hypercare topics check`)"
            found.append(Problem(what, fix, lane.partition))
        elif lane.saved is None:
            what = "the first snapshot is not acknowledged yet"
            found.append(Problem(what, "wait one snapshot interval", lane.partition))
        return found

    def _state(self, lane: LaneProgress) -> Problem | None:
        """What the state alone says; None for a partition that is ready."""
        if lane.state is LaneState.READY:
            return None
        what, fix = f"the partition is {lane.state.value}", "wait: it takes seconds"
        if lane.state is LaneState.BLIND:
            what = f"the partition can not start: {lane.reason}"
            fix = "do what the text says; other partitions go on meanwhile"
        elif lane.state is LaneState.FENCED:
            fix = "nothing: another worker has taken over and this one ends"
        return Problem(what, fix, lane.partition)
