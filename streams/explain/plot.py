"""The evidence over time: of characters for a terminal, as a plot for a page."""

from __future__ import annotations

from datetime import UTC, datetime
from math import inf

from streams.explain.gather import Found
from streams.report import Picture, figure, svg_of
from streams.report.chart import chart

MINUTE_MS = 60_000
CAPTION = (
    "log_e of each signal about the whole of the release; level: what the rule asks "
    "for; o: onset, !: first recommendation."
)
LEVELS_MOST = 4
"""Lines of text end at so many times the level: to be seen is when it is crossed."""


def drawn_of(found: Found) -> list[str]:
    """The course as lines of text; nothing where there are no points."""
    marks = [(letter, at_ms) for letter, _, at_ms in _marks(found)]
    most = inf if found.level is None else LEVELS_MOST * found.level
    cut = [
        (name, [(at_ms, min(value, most)) for at_ms, value in points])
        for name, points in _curves(found)
    ]
    return chart(cut, level=found.level, marked_ms=marks)


def plot_of(found: Found) -> Picture:
    """The course as a picture: evidence above, rate ratios with their limits below.

    Raises
    ------
    Refused
        matplotlib is not installed.
    """
    start_ms = found.points[0].at_ms
    with figure(8, 5) as (made, axes):
        axes.remove()
        upper, lower = made.subplots(2, 1, sharex=True)
        for number, (signal, points) in enumerate(_curves(found)):
            minutes = [(at_ms - start_ms) / MINUTE_MS for at_ms, _ in points]
            color = f"C{number}"
            upper.plot(minutes, [v for _, v in points], color=color, label=signal)
            ratios = [p.ratio for p in found.points if p.signal == signal]
            known = [
                n for n, (low, _, high) in enumerate(ratios) if 0 < low < high < 1e9
            ]
            where = [minutes[n] for n in known]
            lower.plot(where, [ratios[n][1] for n in known], color=color)
            lower.fill_between(
                where,
                [ratios[n][0] for n in known],
                [ratios[n][2] for n in known],
                color=color,
                alpha=0.2,
            )
        if found.level is not None:
            upper.axhline(found.level, color="grey", linewidth=0.8)
        for _, words, at_ms in _marks(found):
            at = (at_ms - start_ms) / MINUTE_MS
            for axes in (upper, lower):
                axes.axvline(at, color="black", linestyle=":", linewidth=0.8)
            upper.annotate(words, (at, 1), xycoords=("data", "axes fraction"))
        lowest = min(point.log_e for point in found.points)
        upper.set_yscale("symlog", linthresh=found.level or 1.0)
        upper.set_ylim(bottom=min(0.0, lowest) - 1.0)
        upper.set_ylabel("log_e")
        upper.legend(loc="lower right")
        lower.set_yscale("log")
        lower.axhline(1, color="grey", linewidth=0.8)
        lower.set_ylabel("ratio, 95 %")
        begin = datetime.fromtimestamp(start_ms / 1000, UTC)
        lower.set_xlabel(f"minutes since {begin:%Y-%m-%d %H:%M} UTC")
        return Picture(svg_of(made), CAPTION)


def _curves(found: Found) -> list[tuple[str, list[tuple[int, float]]]]:
    """The signals, least evidence first, so that the most is drawn on top."""
    curves: dict[str, list[tuple[int, float]]] = {}
    for point in found.points:
        curves.setdefault(point.signal, []).append((point.at_ms, point.log_e))
    return sorted(curves.items(), key=lambda one: max(v for _, v in one[1]))


def _marks(found: Found) -> list[tuple[str, str, int]]:
    marks = []
    story = found.story
    if story.onset_ms is not None:
        marks.append(("o", "onset", story.onset_ms))
    if story.revisions:
        marks.append(("!", "recommended", story.revisions[0].decided_at))
    return marks
