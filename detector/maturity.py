"""Units and late failures of a slow source, by start time and delay.

A mobile application reports a crash when it is started again, hours later. Windows
are closed by then, and re-opening them would change what was already judged. So
the counts of a slow source are kept once more beside the windows: per release and
stratum, by when units started and how long after that each failure was known.
"""

from __future__ import annotations

import numpy as np
from msgspec import Struct, field

from detector.events import Error, Usage
from detector.evidence.cohort import LAG_EDGES_H, LAGS, Arm
from detector.evidence.types import FloatArray, IntArray
from detector.strip import Strip, row_of

HOUR_MS = 3_600_000
BIN_MS = 1_800_000
KEPT_MS = 8 * 24 * HOUR_MS
UNKNOWN_KEPT_MS = 24 * HOUR_MS
"""Kept while lateness has not been seen; it is only needed if it will be."""

IDS_KEPT_MS = 24 * HOUR_MS
KEYS_MAX = 256
FOLDED = -1
"""Stratum that takes what found no room of its own."""

LATE_SHARE_MIN = 0.1
LINES_MIN = 20.0
LINES_MEMORY = 2000.0
"""Error lines after which old ones count half: a source may change its ways."""

_EDGES_MS = [int(edge * HOUR_MS) for edge in LAG_EDGES_H]
Key = tuple[int, int]


class AgeStrip(Strip):
    """Units of one release and stratum by bin, then failures by their delay."""

    ROW = row_of(1 + LAGS)


class Maturity(Struct, array_like=True):
    """State of a slow source; hangs in a scope, empty where nothing is slow.

    ``clock_ms`` is the newest arrival that was noted, ``ways`` by release what its
    lines were counted in, ``ids`` the marks of failures by the hour they arrived.
    Units that started before ``since_ms`` were not counted, -1: none are.
    """

    bin_ms: int = BIN_MS
    clock_ms: int = -1
    strips: dict[Key, AgeStrip] = field(default_factory=dict)
    ways: dict[int, list[str]] = field(default_factory=dict)
    ids: dict[int, set[int]] = field(default_factory=dict)
    lines: float = 0.0
    late: float = 0.0
    since_ms: int = -1

    @property
    def is_slow(self) -> bool:
        """Whether more than a tenth of the error lines come after their window."""
        return self.lines >= LINES_MIN and self.late > LATE_SHARE_MIN * self.lines

    @property
    def is_new(self) -> bool:
        """Whether too few error lines came to know if they come late."""
        return self.lines < LINES_MIN

    def note(
        self,
        event: Usage | Error,
        key: Key,
        arrival_ms: int,
        *,
        named: bool,
        late: bool,
        mark: int | None,
        delay_max_ms: int,
    ) -> bool:
        """Count one record of a slow source, whether its window is open or not.

        Before a deploy says so nobody knows that a source is slow, but its past is
        needed then. So counts are kept until lateness can be excluded.

        Parameters
        ----------
        event : Usage or Error
        key : (int, int)
            Release and stratum number.
        arrival_ms : int
            Arrival clock.
        named : bool
            Whether a rule says that this source may be slow.
        late : bool
            Whether its window was closed when it came.
        mark : int or None
            Hash of its id, by which a repeat of a failure is known.
        delay_max_ms : int
            How late a failure may come and still count.

        Returns
        -------
        bool
            False for a repeat, for what came too late, and where nothing is slow.
        """
        self.clock_ms = max(self.clock_ms, arrival_ms)
        middle_ms = (event.ts + event.end_ms) // 2
        delay_ms = max(0, arrival_ms - middle_ms)
        if isinstance(event, Usage):
            return not late and self._note_usage(event, key, middle_ms, named=named)
        if delay_ms > min(delay_max_ms, KEPT_MS):
            return False
        self._note_line(late=late)
        if not (named or self.is_slow or self.is_new):
            self._clear()
        # Failures of units from before anything was kept would have no units.
        if not 0 <= self.since_ms <= middle_ms or self._repeated(mark):
            return False
        column = 1 + _lag(delay_ms)
        self._put(key, middle_ms, column, *_amount(event), event.sample_rate)
        return True

    def _note_usage(
        self, event: Usage, key: Key, middle_ms: int, *, named: bool
    ) -> bool:
        if not (named or self.is_slow or self.is_new):
            return False
        self.note_sum(key, middle_ms, *_amount(event), event.sample_rate)
        return True

    def keeps(self, *, named: bool) -> bool:
        """Whether units are counted: only failures can change that."""
        return named or self.is_slow or self.is_new

    def stays(self, failures: int, *, named: bool) -> bool:
        """Whether units are counted, or not, all the while that many failures come.

        They are in time: each makes lateness rarer, so the first and the last decide.
        """
        after = Maturity(lines=self.lines + failures, late=self.late)
        if failures and after.lines > LINES_MEMORY:  # old ones will count half
            return False
        return self.keeps(named=named) == after.keeps(named=named)

    def note_units(self, key: Key, at_ms: int, count: int) -> None:
        """Count single units that started in one bin, as `note` does one by one.

        To be called only while `keeps`; ``at_ms`` is when the first of them started.
        """
        if self.since_ms < 0:
            self.since_ms = at_ms
        used = self.ways.setdefault(key[0], [])
        if "request" not in used:
            used.append("request")
        number = at_ms // self.bin_ms
        if key not in self.strips and len(self.strips) >= KEYS_MAX:
            key = (key[0], FOLDED)
        strip = self.strips.setdefault(key, AgeStrip(number))
        strip.add_ones(number, 0, count)

    def note_sum(
        self, key: Key, at_ms: int, way: str, amount: float, sample_rate: float = 1.0
    ) -> None:
        """Count units of one line, in the unit it is counted in.

        To be called only while `keeps`; ``at_ms`` is when they started.
        """
        if self.since_ms < 0:
            self.since_ms = at_ms
        self._put(key, at_ms, 0, way, amount, sample_rate)

    def forget(self) -> None:
        """Drop what is older than is kept; to be called once a bin."""
        kept_ms = KEPT_MS if self.is_slow else UNKNOWN_KEPT_MS
        oldest_ms = self.clock_ms - kept_ms
        if self.since_ms >= 0:
            self.since_ms = max(self.since_ms, oldest_ms)
        first = -(-oldest_ms // self.bin_ms)
        for key, strip in list(self.strips.items()):
            strip.drop_before(first)
            if not strip.data:
                del self.strips[key]
        hour = (self.clock_ms - IDS_KEPT_MS) // HOUR_MS
        for old in [h for h in self.ids if h < hour]:
            del self.ids[old]
        kept = {release for release, _ in self.strips}
        for release in [r for r in self.ways if r not in kept]:
            del self.ways[release]

    def forget_release(self, release: int) -> None:
        """Drop a release that is let go."""
        if self.ways.pop(release, None) is not None:
            for key in [k for k in self.strips if k[0] == release]:
                del self.strips[key]

    def set_width(self, width_ms: int) -> None:
        """Make a bin at least as wide as a window, starting anew if it must grow."""
        needed = width_ms * -(-BIN_MS // width_ms)
        if needed > self.bin_ms:
            self.bin_ms = needed
            self._clear()

    def ages_h(self, start_ms: int) -> FloatArray:
        """Ages in hours of the units of each whole bin since ``start_ms``."""
        middles = (self._numbers(start_ms) + 0.5) * self.bin_ms
        ages: FloatArray = (self.clock_ms - middles) / HOUR_MS
        return ages

    def arm(self, releases: set[int], strata: list[int], start_ms: int) -> Arm:
        """Counts of some releases in the bins of `ages_h`, by stratum."""
        numbers = self._numbers(start_ms)
        counts = np.zeros((len(strata), len(numbers), 1 + LAGS))
        place = {stratum: i for i, stratum in enumerate(strata)}
        for (release, stratum), strip in sorted(self.strips.items()):
            if release in releases and stratum in place and len(numbers):
                low = max(int(numbers[0]), strip.first)
                high = min(int(numbers[-1]) + 1, strip.end)
                if low < high:
                    at = slice(low - int(numbers[0]), high - int(numbers[0]))
                    counts[place[stratum], at] += strip.rows(low, high)
        return Arm(counts[:, :, 0], counts[:, :, 1:])

    def comparable(self, releases: set[int]) -> str | None:
        """The unit all these releases are counted in, None if they differ."""
        ways = {way for release in releases for way in self.ways.get(release, [])}
        return ways.pop() if len(ways) == 1 else None

    def _numbers(self, start_ms: int) -> IntArray:
        first = -(-start_ms // self.bin_ms)
        return np.arange(first, max(first, self.clock_ms // self.bin_ms))

    def _put(
        self,
        key: Key,
        at_ms: int,
        column: int,
        way: str,
        amount: float,
        sample_rate: float,
    ) -> None:
        used = self.ways.setdefault(key[0], [])
        if way not in used and amount:
            used.append(way)
        number = at_ms // self.bin_ms
        if key not in self.strips and len(self.strips) >= KEYS_MAX:
            key = (key[0], FOLDED)
        strip = self.strips.setdefault(key, AgeStrip(number))
        strip.add_at(number, column, amount / sample_rate)

    def _clear(self) -> None:
        self.strips, self.ways, self.ids, self.since_ms = {}, {}, {}, -1

    def _note_line(self, *, late: bool) -> None:
        if self.lines >= LINES_MEMORY:
            self.lines, self.late = self.lines / 2, self.late / 2
        self.lines += 1
        self.late += late

    def _repeated(self, mark: int | None) -> bool:
        if mark is None:
            return False
        if any(mark in seen for seen in self.ids.values()):
            return True
        self.ids.setdefault(self.clock_ms // HOUR_MS, set()).add(mark)
        return False


def _lag(delay_ms: int) -> int:
    """Number of the delay bin."""
    found = 0
    while found < LAGS - 1 and delay_ms >= _EDGES_MS[found + 1]:
        found += 1
    return found


def _amount(event: Usage | Error) -> tuple[str, float]:
    """Best unit a record is counted in, and how many of them it stands for."""
    if event.sessions is not None:
        return "session", float(event.sessions)
    if event.users is not None and event.sender is None:
        return "user", float(event.users)
    if event.count is not None:
        return "request", float(event.count)
    return "request", 1.0
