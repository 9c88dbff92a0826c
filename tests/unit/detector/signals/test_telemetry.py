"""Telemetry health: clocks, lateness, repeats, and streams that fell silent."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from msgspec import json

from detector.signals.telemetry import (
    HOLD_MAX_MS,
    OFF_MS,
    RIGHT,
    SENDERS_MAX,
    ClockShift,
    Health,
    corrected_end_ms,
    duplicate_share,
    hold_ms,
    is_silent,
    is_whole,
    late_share,
    moved_share,
    note_line,
    note_sender,
    note_usage_time,
    shift_of,
    troubles,
)

START_MS = 1_795_356_000_000
MINUTE_MS = 60_000
HOUR_MS = 3_600_000


def sent(offsets_ms: list[int], window_ms: int = MINUTE_MS) -> Health:
    """Health after one usage line per window, which came that long after its end."""
    health = Health()
    for number, offset_ms in enumerate(offsets_ms):
        arrival_ms = START_MS + number * window_ms + 1000
        note_usage_time(health, arrival_ms - offset_ms, arrival_ms, window_ms)
    return health


def test_prompt_lines_mean_right_clock() -> None:
    """Usual delays of a few seconds are no shift, and ends stay as sent."""
    health = sent([400, 900, 12_000, 3000] * 4)
    assert shift_of(health) == RIGHT
    assert corrected_end_ms(health, START_MS, START_MS + 900, MINUTE_MS) == START_MS


@pytest.mark.parametrize("shift_ms", [-HOUR_MS, 8 * HOUR_MS, -5 * MINUTE_MS])
def test_constant_shift_is_mended(shift_ms: int) -> None:
    """Three windows off by whole windows give back the exact grid window."""
    health = sent([shift_ms + delay_ms for delay_ms in (300, 4200, 1100)])
    assert shift_of(health) == ClockShift("constant", shift_ms)
    wrong_ms = START_MS - shift_ms
    arrival_ms = START_MS + 7000
    assert corrected_end_ms(health, wrong_ms, arrival_ms, MINUTE_MS) == START_MS


def test_odd_shift_is_mended_closely() -> None:
    """A shift that is no multiple of the window is mended to its delay."""
    health = sent([-(HOUR_MS + 25_500), -(HOUR_MS + 25_000), -(HOUR_MS + 24_500)])
    assert shift_of(health) == ClockShift("constant", -(HOUR_MS + 25_000))


def test_two_lines_are_not_enough() -> None:
    """Two odd lines may be an accident; they are not moved."""
    assert shift_of(sent([-HOUR_MS, -HOUR_MS])) == RIGHT


def test_late_line_of_shifted_clock_stays_late() -> None:
    """A clock's shift does not excuse lines that are late by that clock too."""
    health = sent([HOUR_MS + 500] * 5)
    moved_ms = corrected_end_ms(
        health, START_MS - 2 * HOUR_MS, START_MS + 500, MINUTE_MS
    )
    assert moved_ms == START_MS - HOUR_MS


def test_line_on_time_is_never_moved() -> None:
    """A pod with a right clock keeps its times beside pods with a wrong one."""
    health = sent([-HOUR_MS] * 5)
    assert corrected_end_ms(health, START_MS, START_MS + 2000, MINUTE_MS) == START_MS


def test_erratic_clock_is_binned_by_arrival() -> None:
    """Offsets of both signs fall into the last grid window before arrival."""
    rng = random.Random(4)
    health = sent([int(rng.gauss(0, HOUR_MS)) for _ in range(15)])
    assert shift_of(health).clock == "erratic"
    arrival_ms = START_MS + 3 * MINUTE_MS + 2500
    end_ms = corrected_end_ms(health, START_MS - HOUR_MS, arrival_ms, MINUTE_MS)
    assert end_ms == START_MS + 3 * MINUTE_MS
    event_ms = corrected_end_ms(health, START_MS - HOUR_MS, arrival_ms, 0)
    assert event_ms == arrival_ms


def test_backlog_is_not_a_clock() -> None:
    """An hour of lines that comes at once is late, whatever its offsets."""
    health = sent([500] * 6)
    arrival_ms = START_MS + HOUR_MS
    for window in range(60):
        end_ms = START_MS + window * MINUTE_MS
        note_usage_time(health, end_ms, arrival_ms + 20 * window, MINUTE_MS)
    assert shift_of(health) == RIGHT


def test_slow_uploads_are_not_a_clock() -> None:
    """Delays of hours that differ are delays: nothing comes from the future."""
    rng = random.Random(9)
    health = sent([rng.randrange(OFF_MS, 9 * HOUR_MS) for _ in range(15)])
    assert shift_of(health) == RIGHT


def test_mended_clock_is_believed_again() -> None:
    """Once lines are on time again the shift is forgotten."""
    assert shift_of(sent([-HOUR_MS] * 10 + [700] * 3)) == RIGHT


def test_cells_of_a_window_count_once() -> None:
    """Many lines of one window are one sample of the clock."""
    health = Health()
    for _ in range(20):
        note_usage_time(health, START_MS - HOUR_MS, START_MS, MINUTE_MS)
    assert health.offsets_ms == [HOUR_MS]


def test_slow_arm_holds_the_window() -> None:
    """Usage that takes thirty to fifty seconds is waited for, within bounds."""
    slow = sent([30_000, 50_000, 34_000, 47_000, 50_000] * 3)
    assert shift_of(slow) == RIGHT
    assert 20_000 <= hold_ms(slow, 20_000) <= 30_000
    assert hold_ms(sent([900] * 15), 20_000) == 0
    rng = random.Random(3)
    hours = sent([rng.randrange(HOUR_MS, 9 * HOUR_MS) for _ in range(15)])
    assert hold_ms(hours, 20_000) == HOLD_MAX_MS


def test_few_samples_hold_nothing() -> None:
    """A window is not held for the sake of a few late lines."""
    assert hold_ms(sent([900_000, 70_000, 40_000]), 20_000) == 0


def count(health: Health, lines: int, at_ms: int, **became: bool) -> None:
    """Note lines that were sent on time."""
    marks = {"late": False, "duplicate": False, **became}
    for _ in range(lines):
        note_line(health, at_ms, at_ms, **marks)


def test_shares_are_of_recent_lines() -> None:
    """Late lines count at once and fade with the hours."""
    health = Health()
    count(health, 80, START_MS)
    count(health, 20, START_MS, late=True)
    assert late_share(health) == pytest.approx(0.2)
    assert troubles(health) == ("usage_late",)
    count(health, 100, START_MS + 5 * HOUR_MS)
    assert late_share(health) < 0.01
    assert troubles(health) == ()


def test_repeats_are_no_trouble() -> None:
    """Repeated lines are counted and shown, but nothing is unreliable for it."""
    health = Health()
    count(health, 10, START_MS)
    count(health, 30, START_MS, duplicate=True)
    assert duplicate_share(health) == pytest.approx(0.75)
    assert troubles(health) == ()


def test_moved_lines_are_told() -> None:
    """Lines that a wrong clock misplaced keep a release from being healthy."""
    health = Health()
    for number in range(10):
        at_ms = START_MS + number * MINUTE_MS
        note_line(health, at_ms + HOUR_MS, at_ms, late=False, duplicate=False)
    assert moved_share(health) == pytest.approx(1.0)
    assert troubles(health) == ("clock_off",)


def test_few_lines_have_no_share() -> None:
    """One late line of two is no share to speak of."""
    health = Health()
    count(health, 1, START_MS)
    count(health, 1, START_MS, late=True)
    assert late_share(health) == 0.0


def test_errors_without_their_units_are_seen() -> None:
    """A sender with failures but no usage makes a cell incomplete."""
    health = Health()
    for sender in (1, 2):
        note_sender(health, sender, START_MS)
    assert is_whole(health, {1, 2}, {2}, START_MS)
    assert not is_whole(health, {1}, {1, 2}, START_MS)


def test_separate_error_senders_are_fine() -> None:
    """Errors may come from programs that never send usage."""
    health = Health()
    note_sender(health, 1, START_MS)
    assert is_whole(health, {1}, {7}, START_MS)


def test_gone_sender_is_forgotten() -> None:
    """A sender whose usage ended hours ago is not missed."""
    health = Health()
    note_sender(health, 1, START_MS)
    assert is_whole(health, set(), {1}, START_MS + 2 * HOUR_MS)


def test_senders_are_bounded() -> None:
    """The sender that was silent longest makes room."""
    health = Health()
    for sender in range(SENDERS_MAX + 5):
        note_sender(health, sender, START_MS + sender)
    assert len(health.senders) == SENDERS_MAX
    assert min(health.senders) == 5


def test_silence_needs_expectation() -> None:
    """No failures are silence only where there should have been several."""
    assert is_silent(0, 20)
    assert is_silent(3, 40)
    assert not is_silent(0, 5)
    assert not is_silent(15, 40)
    assert not is_silent(0, 0)


def test_silence_is_rare_by_chance() -> None:
    """A Poisson stream falls silent in less than one window of ten thousand."""
    for expected in np.geomspace(1, 500, 40):
        counts = np.arange(2000)
        terms = counts * math.log(expected) - expected
        log_chance = terms - np.cumsum(np.log(np.maximum(counts, 1)))
        silent = np.array([is_silent(float(k), float(expected)) for k in counts])
        assert float(np.exp(log_chance[silent]).sum()) <= 1e-4


def test_health_survives_a_snapshot() -> None:
    """A restored health decides as the one it was written from."""
    health = sent([-HOUR_MS] * 5)
    note_sender(health, 3, START_MS)
    assert json.decode(json.encode(health), type=Health) == health


def test_silent_senders_make_room_first() -> None:
    """Of the longest silent the one with the smallest number is forgotten."""
    health = Health()
    for sender in range(SENDERS_MAX):
        note_sender(health, sender, START_MS if sender in (7, 9) else START_MS + 1)
    note_sender(health, -1, START_MS + 1)
    assert 7 not in health.senders
    note_sender(health, -2, START_MS + 1)
    assert 9 not in health.senders
    assert len(health.senders) == SENDERS_MAX
