"""Is what a release reports complete, on time, and on the right clock?

Telemetry breaks in ways that look like regressions: clocks off by hours, lines that
come late or twice, usage that is lost while errors keep coming. What can be mended
at intake is mended here without touching either arm's counts; what cannot is said.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from msgspec import Struct, field

from detector.groups.ones import plus_ones

OFF_MS = 20_000
"""A usage line further than this from its arrival is late, or its clock is off."""

SAMPLE_APART_MS = 5_000
SAMPLES_KEPT = 15
SAMPLES_FOR_CONSTANT = 3
SAMPLES_FOR_ERRATIC = 8
ERRATIC_SIDE_MIN = 2
"""Lines off in each direction that make a clock erratic: delays have one."""

CONSTANT_WITHIN_MS = 15_000
"""Delays of one sender vary by this much; a constant shift does not."""

HALF_LIFE_MS = 3_600_000
"""Shares of late and repeated lines are of about the last hour."""

FADE_MS = 1_000
"""They fade in steps: for each line anew it would cost more than all counting."""

HOLD_MAX_MS = 60_000
HOLD_QUANTILE = 0.9
LATE_SHARE_MAX = 0.1
LATE_LINES_MIN = 5.0

SENDERS_MAX = 256
SENDER_FORGOTTEN_MS = 3_600_000

SILENT_SHARE = 0.25
SILENT_LOG_CHANCE = math.log(1e-4)

LATE, KNOWN, OFF = 1, 2, 4
"""What became of a usage line; 0 if nothing is remarkable."""

Clock = Literal["right", "constant", "erratic"]


class ClockShift(NamedTuple):
    """How a release's clock is off: add ``shift_ms`` to its times if constant."""

    clock: Clock
    shift_ms: int


RIGHT = ClockShift("right", 0)


class Health(Struct, array_like=True):
    """What is known of one release's telemetry.

    ``offsets_ms`` holds arrival minus end of usage lines, one per window and at most
    one per half a window of arrival time: a backlog that comes at once is one
    sample. Counts of lines fade with `HALF_LIFE_MS`.
    """

    offsets_ms: list[int] = field(default_factory=list)
    sampled_end_ms: int = -1
    sampled_arrival_ms: int = -1
    clock: Clock = "right"
    shift_ms: int = 0
    faded_ms: int = -1
    lines: float = 0.0
    late: float = 0.0
    duplicates: float = 0.0
    moved: float = 0.0
    senders: dict[int, int] = field(default_factory=dict)
    usage_rate: float = 1.0
    error_rate: float = 1.0


def note_usage_time(
    health: Health, event_end_ms: int, arrival_ms: int, window_ms: int
) -> None:
    """Learn from a usage line how far its clock and its way are off.

    ``event_end_ms`` is as sent. Called for every usage line that is no known
    duplicate, late ones too, before `corrected_end_ms`.
    """
    apart_ms = max(SAMPLE_APART_MS, window_ms // 2)
    if event_end_ms == health.sampled_end_ms:
        return
    if health.offsets_ms and arrival_ms - health.sampled_arrival_ms < apart_ms:
        return
    health.sampled_end_ms, health.sampled_arrival_ms = event_end_ms, arrival_ms
    offsets = [*health.offsets_ms, arrival_ms - event_end_ms][-SAMPLES_KEPT:]
    health.offsets_ms = offsets
    health.clock, health.shift_ms = _learn(offsets, window_ms)


def forget_sample(health: Health, before: Health) -> None:
    """Have a clock as it was before a usage line was learnt from."""
    health.offsets_ms, health.clock = before.offsets_ms, before.clock
    health.sampled_end_ms = before.sampled_end_ms
    health.sampled_arrival_ms = before.sampled_arrival_ms
    health.shift_ms = before.shift_ms


def note_line(
    health: Health,
    event_end_ms: int,
    arrival_ms: int,
    *,
    late: bool,
    duplicate: bool,
) -> None:
    """Count a usage line and what became of it; ``event_end_ms`` is as sent."""
    off = abs(arrival_ms - event_end_ms) > OFF_MS
    fate = LATE * late + KNOWN * duplicate + OFF * off
    note_lines(health, (arrival_ms,), (fate,))


def note_lines(
    health: Health, arrivals_ms: Sequence[int], fates: Sequence[int]
) -> None:
    """Count usage lines in the order of their arrival, and what became of each.

    That is a sum of `LATE`, `KNOWN` and `OFF`, further than `OFF_MS` from arrival.
    """
    begin, end = 0, len(arrivals_ms)
    while begin < end:
        _fade(health, arrivals_ms[begin])
        upto = bisect_left(arrivals_ms, health.faded_ms + FADE_MS, begin + 1)
        part = fates[begin:upto]
        health.lines = plus_ones(health.lines, len(part))
        for fate in set(part) - {0}:
            count = part.count(fate)
            if fate & LATE:
                health.late = plus_ones(health.late, count)
            if fate & KNOWN:
                health.duplicates = plus_ones(health.duplicates, count)
            if fate == OFF:
                health.moved = plus_ones(health.moved, count)
        begin = upto


def _fade(health: Health, now_ms: int) -> None:
    """Make old lines count less, if it is time to."""
    passed_ms = now_ms - health.faded_ms
    if passed_ms < FADE_MS:
        return
    if health.faded_ms >= 0:
        kept = 0.5 ** (passed_ms / HALF_LIFE_MS)
        health.lines *= kept
        health.late *= kept
        health.duplicates *= kept
        health.moved *= kept
    health.faded_ms = now_ms


def shift_of(health: Health) -> ClockShift:
    """How a release's clock is off, as learnt from its recent usage lines."""
    return ClockShift(health.clock, health.shift_ms)


def corrected_end_ms(
    health: Health, event_end_ms: int, arrival_ms: int, window_ms: int
) -> int:
    """End of what a line covers, on our clock.

    Lines that are on time keep their end. Those of a release whose clock is off by
    a constant are moved by it, and may still be late; those of an erratic clock get
    the grid window that ended last before they arrived.
    """
    if abs(arrival_ms - event_end_ms) <= OFF_MS or health.clock == "right":
        return event_end_ms
    if health.clock == "constant":
        return event_end_ms + health.shift_ms
    return arrival_ms // window_ms * window_ms if window_ms > 0 else arrival_ms


def hold_ms(health: Health, grace_ms: int) -> int:
    """How much longer than the grace a window waits for this release's usage.

    The watermark of a comparison is that of its slower arm: if one release's usage
    typically comes later than the grace, closing without it compares errors without
    their units. At most `HOLD_MAX_MS`.
    """
    delays = sorted(o - health.shift_ms for o in health.offsets_ms)
    if len(delays) < SAMPLES_FOR_ERRATIC or health.clock == "erratic":
        return 0
    usual = delays[int(HOLD_QUANTILE * (len(delays) - 1))]
    return min(max(0, usual - grace_ms), HOLD_MAX_MS)


def late_share(health: Health) -> float:
    """Share of the recent usage lines that came too late to count."""
    return health.late / health.lines if health.lines >= LATE_LINES_MIN else 0.0


def duplicate_share(health: Health) -> float:
    """Share of the recent usage lines that were known already."""
    return health.duplicates / health.lines if health.lines >= LATE_LINES_MIN else 0.0


def moved_share(health: Health) -> float:
    """Share of the recent usage lines that a wrong clock had misplaced."""
    return health.moved / health.lines if health.lines >= LATE_LINES_MIN else 0.0


def troubles(health: Health) -> tuple[str, ...]:
    """What keeps a release from being found healthy, worst first.

    None of it keeps it from being found regressed: windows without usage of both
    arms add no evidence, and repeats are not counted.
    """
    found = []
    if late_share(health) > LATE_SHARE_MAX:
        found.append("usage_late")
    if moved_share(health) > LATE_SHARE_MAX:
        found.append("clock_off")
    return tuple(found)


def note_sender(health: Health, sender: int, end_ms: int) -> None:
    """Remember who sends usage of this release; the longest silent makes room."""
    senders = health.senders
    senders[sender] = max(end_ms, senders.get(sender, -1))
    if len(senders) > SENDERS_MAX:
        longest_ms = min(senders.values())
        del senders[min(one for one, ms in senders.items() if ms == longest_ms)]


def is_whole(
    health: Health,
    usage_senders: Iterable[int],
    error_senders: Iterable[int],
    end_ms: int,
) -> bool:
    """Whether no sender of a cell reports failures without the units they hit.

    Only senders known to send usage count: errors may come from another program
    than usage does. A cell that is not whole is left out of the comparison.
    """
    absent = set(error_senders) - set(usage_senders)
    since_ms = end_ms - SENDER_FORGOTTEN_MS
    return not any(health.senders.get(one, -1) >= since_ms for one in absent)


def is_silent(bad: float, expected: float) -> bool:
    """Whether an arm that should have had failures has improbably few.

    A late or lost error stream of the control looks like a regression of the
    candidate. In such windows evidence may be taken away, never added: the minimum
    of an increment and 0 keeps a supermartingale one, whatever is looked at.
    """
    if bad >= SILENT_SHARE * expected:
        return False
    # Chernoff's bound on a Poisson count being as small as this.
    few = bad * math.log(bad / expected) if bad > 0 else 0.0
    return bad - expected - few <= SILENT_LOG_CHANCE


def note_rates(
    health: Health, usage_rate: float | None, error_rate: float | None
) -> None:
    """Remember which share of usage and errors survives sampling in this release."""
    if usage_rate is not None:
        health.usage_rate = usage_rate
    if error_rate is not None:
        health.error_rate = error_rate


def _learn(offsets_ms: list[int], window_ms: int) -> ClockShift:
    off = [o for o in offsets_ms if abs(o) > OFF_MS]
    newest = offsets_ms[-SAMPLES_FOR_CONSTANT:]
    middle = sorted(newest)[len(newest) // 2]
    if (
        len(newest) == SAMPLES_FOR_CONSTANT
        and all(abs(o) > OFF_MS for o in newest)
        and max(newest) - min(newest) <= CONSTANT_WITHIN_MS
    ):
        return ClockShift("constant", _snapped(middle, window_ms))
    future = sum(o < 0 for o in off)
    if (
        len(offsets_ms) >= SAMPLES_FOR_ERRATIC
        and 2 * len(off) > len(offsets_ms)
        and ERRATIC_SIDE_MIN <= future <= len(off) - ERRATIC_SIDE_MIN
    ):
        return ClockShift("erratic", 0)
    return RIGHT


def _snapped(offset_ms: int, window_ms: int) -> int:
    """The shift behind an offset, which holds the delay of the way as well.

    Clocks are off by whole windows more often than not (time zones, a date): then a
    window that is moved by it lies on the grid again.
    """
    unit_ms = max(window_ms, 1000)
    whole = offset_ms // unit_ms * unit_ms
    if offset_ms - whole <= OFF_MS:
        return whole
    return offset_ms // 1000 * 1000
