"""State of a slow source: what is counted when, and what is forgotten."""

from __future__ import annotations

import msgspec
import numpy as np

from detector.events import Error, Usage
from detector.maturity import (
    BIN_MS,
    FOLDED,
    HOUR_MS,
    KEPT_MS,
    KEYS_MAX,
    Maturity,
)

START_MS = 1_795_356_000_000
START_MS -= START_MS % BIN_MS
KEY = (1, 0)


def usage(at_ms: int, users: int = 100, *, sender: str | None = None) -> Usage:
    """Usage of ten minutes."""
    return Usage(
        ts=at_ms, service="app", window_s=600, release="1", count=users * 2,
        users=users, sender=sender,
    )  # fmt: skip


def crash(at_ms: int, users: int = 1, *, rate: float = 1.0) -> Error:
    """Crashes of ten minutes."""
    return Error(
        ts=at_ms, service="app", window_s=600, release="1", count=users,
        users=users, sample_rate=rate,
    )  # fmt: skip


def note(
    maturity: Maturity,
    event: Usage | Error,
    after_h: float = 0.0,
    *,
    mark: int | None = None,
    named: bool = True,
) -> bool:
    """Note a record so many hours after its end."""
    return maturity.note(
        event,
        KEY,
        event.end_ms + int(after_h * HOUR_MS),
        named=named,
        late=after_h > 0.1,
        mark=mark,
        delay_max_ms=72 * HOUR_MS,
    )


def test_crash_counts_where_it_happened() -> None:
    """A late crash is in the bin of its own time, at its own delay."""
    maturity = Maturity()
    note(maturity, usage(START_MS))
    assert note(maturity, crash(START_MS, 2), 5.0)
    arm = maturity.arm({1}, [0], START_MS)
    assert arm.units[0].tolist() == [100.0] + [0.0] * 9
    assert arm.bad[0].tolist() == [2.0] + [0.0] * 9
    assert (
        maturity.ages_h(START_MS)[0] == (5 * HOUR_MS + 600_000 - BIN_MS / 2) / HOUR_MS
    )


def test_repeated_crash_counts_once() -> None:
    """A crash that is delivered twice is one crash, even hours apart."""
    maturity = Maturity()
    note(maturity, usage(START_MS))
    assert note(maturity, crash(START_MS), 2.0, mark=7)
    assert not note(maturity, crash(START_MS), 6.0, mark=7)
    assert maturity.arm({1}, [0], START_MS).bad.sum() == 1


def test_too_late_crash_is_left_out() -> None:
    """Beyond the delay that the rule allows nothing counts any more."""
    maturity = Maturity()
    note(maturity, usage(START_MS))
    assert not note(maturity, crash(START_MS), 73.0)
    assert maturity.lines == 0


def test_late_usage_is_left_out() -> None:
    """Usage arrives at once; what comes after its window is not counted."""
    maturity = Maturity()
    assert not note(maturity, usage(START_MS), 3.0)


def test_source_is_slow_when_seen() -> None:
    """Only a source whose crashes do come late is slow."""
    prompt, slow = Maturity(), Maturity()
    for i in range(40):
        note(prompt, usage(START_MS + i * 600_000))
        note(slow, usage(START_MS + i * 600_000))
        note(prompt, crash(START_MS + i * 600_000), 0.0)
        note(slow, crash(START_MS + i * 600_000), 3.0)
    assert not prompt.is_slow
    assert slow.is_slow
    assert not Maturity().is_slow


def test_past_of_slow_source_is_kept() -> None:
    """What no rule names is counted, too, until its lateness is known."""
    maturity = Maturity()
    assert note(maturity, usage(START_MS), named=False)
    for i in range(30):
        assert note(maturity, crash(START_MS), 2.0, mark=i, named=False)
    assert maturity.is_slow
    assert maturity.arm({1}, [0], START_MS).bad.sum() == 30


def test_prompt_source_is_not_kept() -> None:
    """Once enough failures came at once nothing is kept, unless a rule says so."""
    plain, named = Maturity(), Maturity()
    for maturity in (plain, named):
        for i in range(30):
            at_ms = START_MS + i * 600_000
            note(maturity, usage(at_ms), named=maturity is named)
            note(maturity, crash(at_ms), named=maturity is named)
    assert (plain.strips, plain.since_ms) == ({}, -1)
    assert named.arm({1}, [0], START_MS).bad.sum() > 0


def test_crash_without_units_is_left_out() -> None:
    """Failures of units from before anything was counted are not counted."""
    maturity = Maturity()
    note(maturity, usage(START_MS))
    assert not note(maturity, crash(START_MS - 600_000), 3.0)
    assert note(maturity, crash(START_MS), 3.0)


def test_sampled_crashes_are_scaled_up() -> None:
    """A crash kept with probability a quarter stands for four."""
    maturity = Maturity()
    note(maturity, usage(START_MS))
    note(maturity, crash(START_MS, rate=0.25), 1.0)
    assert maturity.arm({1}, [0], START_MS).bad.sum() == 4


def test_unlike_units_are_not_compared() -> None:
    """Releases counted in users and in requests have no common unit."""
    maturity = Maturity()
    note(maturity, usage(START_MS))
    assert maturity.comparable({1}) == "user"
    note(maturity, usage(START_MS, sender="pod"))
    assert maturity.comparable({1}) is None


def test_old_counts_are_forgotten() -> None:
    """What is older than is kept goes, with its ids and ways."""
    maturity = Maturity()
    note(maturity, usage(START_MS))
    note(maturity, crash(START_MS), 1.0, mark=1)
    maturity.clock_ms = START_MS + KEPT_MS + 2 * BIN_MS
    maturity.forget()
    assert (maturity.strips, maturity.ids, maturity.ways) == ({}, {}, {})


def test_many_strata_fold_together() -> None:
    """Beyond the limit further strata share one place, and nothing is lost."""
    maturity = Maturity()
    for stratum in range(KEYS_MAX + 20):
        event = usage(START_MS)
        maturity.note(
            event,
            (1, stratum),
            event.end_ms,
            named=True,
            late=False,
            mark=None,
            delay_max_ms=1,
        )
    maturity.clock_ms += BIN_MS
    assert len(maturity.strips) == KEYS_MAX + 1
    strata = [*range(KEYS_MAX), FOLDED]
    assert maturity.arm({1}, strata, START_MS).units.sum() == 100 * (KEYS_MAX + 20)


def test_order_of_arrival_is_irrelevant() -> None:
    """Older bins may come after newer ones."""
    one, other = Maturity(), Maturity()
    events = [usage(START_MS + i * BIN_MS, 10 + i) for i in range(6)]
    for event in events:
        note(one, event)
    for event in reversed(events):
        note(other, event)
    before, after = (m.arm({1}, [0], START_MS).units for m in (one, other))
    assert np.array_equal(before, after)


def test_wider_windows_widen_bins() -> None:
    """A bin is never narrower than a window."""
    maturity = Maturity()
    note(maturity, usage(START_MS))
    maturity.set_width(HOUR_MS)
    assert (maturity.bin_ms, maturity.strips) == (HOUR_MS, {})
    maturity.set_width(60_000)
    assert maturity.bin_ms == HOUR_MS


def test_state_survives_encoding() -> None:
    """Writing and reading the state changes nothing."""
    maturity = Maturity()
    note(maturity, usage(START_MS))
    note(maturity, crash(START_MS), 4.0, mark=3)
    raw = msgspec.msgpack.encode(maturity)
    assert msgspec.msgpack.decode(raw, type=Maturity) == maturity
