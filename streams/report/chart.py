"""Curves in a terminal: a few lines of characters, no library and no colour."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

WIDTH, HEIGHT = 64, 9
MARKS = "*+x#@%&="


def chart(
    curves: Sequence[tuple[str, Sequence[tuple[int, float]]]],
    *,
    level: float | None = None,
    marked_ms: Sequence[tuple[str, int]] = (),
) -> list[str]:
    """Curves over one time axis, as lines of text.

    Parameters
    ----------
    curves : sequence of (name, points)
        Points are (epoch ms, value), in order; a place shows the highest value of its
        span of time. Later curves are drawn over earlier ones.
    level : float, optional
        A value to draw a line at.
    marked_ms : sequence of (letter, epoch ms)
        Times to mark below the axis.

    Examples
    --------
    >>> lines = chart([("errors", [(0, 0.0), (60_000, 4.0), (120_000, 8.0)])], level=6)
    >>> len(lines), lines[0].split()[0], lines[-1].strip()
    (12, '8.0', '* errors')
    """
    points = [point for _, own in curves for point in own]
    if not points:
        return []
    begin_ms, end_ms = min(p[0] for p in points), max(p[0] for p in points)
    values = [value for _, value in points] + ([] if level is None else [level])
    low, high = min(0.0, *values), max(values)
    canvas = [[" "] * WIDTH for _ in range(HEIGHT)]
    if level is not None:
        canvas[_row(level, low, high)] = ["-"] * WIDTH
    for number, (_, own) in enumerate(curves):
        highest: dict[int, float] = {}
        for at_ms, value in own:
            place = _column(at_ms, begin_ms, end_ms)
            highest[place] = max(value, highest.get(place, value))
        for place, value in highest.items():
            canvas[_row(value, low, high)][place] = MARKS[number % len(MARKS)]
    lines = [
        f"{_label(number, low, high):>8} |{''.join(row)}".rstrip()
        for number, row in enumerate(canvas)
    ]
    lines.append(f"{'':>8} +{_axis(begin_ms, end_ms, marked_ms)}")
    begin, end = _clock(begin_ms), _clock(end_ms)
    lines.append(f"{'':>9}{begin}{end:>{WIDTH + 1 - len(begin)}}")
    legend = [f"{MARKS[n % len(MARKS)]} {name}" for n, (name, _) in enumerate(curves)]
    lines.append(f"{'':>9}{'   '.join(legend)}")
    return lines


def _axis(begin_ms: int, end_ms: int, marked_ms: Sequence[tuple[str, int]]) -> str:
    marks = ["-"] * WIDTH
    for letter, at_ms in marked_ms:
        if begin_ms <= at_ms <= end_ms:
            marks[_column(at_ms, begin_ms, end_ms)] = letter
    return "".join(marks)


def _row(value: float, low: float, high: float) -> int:
    share = (value - low) / (high - low) if high > low else 0.0
    return round((1.0 - share) * (HEIGHT - 1))


def _column(at_ms: int, begin_ms: int, end_ms: int) -> int:
    return round((at_ms - begin_ms) / max(1, end_ms - begin_ms) * (WIDTH - 1))


def _label(row: int, low: float, high: float) -> str:
    if row % (HEIGHT // 2):
        return ""
    return f"{high - (high - low) * row / (HEIGHT - 1):.1f}"


def _clock(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%H:%M:%S")
