"""The tables of a backtest, for the terminal and for the page alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from detector.backtest.scores import Difference, Row, Summary
from streams.backtest.outcome import Outcome, Trial, clock, few, length, percent
from streams.report import Sheet

MEASURES = (
    "releases", "harmful, healthy, unlabelled", "precision", "recall",
    "time to detect, median", "false rollbacks per healthy release",
    "false recommendations", "held", "stayed undecided", "no data",
    "asked for before the onset", "missed, taken back in the history",
)  # fmt: skip


def measures(found: Summary) -> list[str]:
    """The figures of a summary, in the order of ``MEASURES``."""
    return [
        str(found.releases),
        f"{found.harmful}, {found.healthy}, {found.unlabelled}",
        percent(found.precision),
        percent(found.recall),
        length(found.median_time_to_detect_ms),
        percent(found.false_rollbacks),
        str(found.false_recommendations),
        percent(found.held),
        percent(found.undecided),
        percent(found.no_data),
        str(found.too_early),
        str(found.ended_by_history),
    ]


def overview(trials: Sequence[Trial]) -> Sheet:
    """Rule sets side by side."""
    columns = [measures(trial.summary) for trial in trials]
    rows = [list(row) for row in zip(MEASURES, *columns, strict=True)]
    note = "in brackets: 95 % exact interval (Clopper and Pearson)"
    return Sheet(["", *(t.name for t in trials)], rows, note)


def groups(name: str, found: Mapping[str, Summary], whose: str) -> Sheet:
    """Figures by service or by rule."""
    columns = [
        name, "releases", "precision", "recall", "time to detect", "false rollbacks",
        "held", "undecided", "no data",
    ]  # fmt: skip
    rows = [
        [
            value, str(one.releases), few(one.precision), few(one.recall),
            length(one.median_time_to_detect_ms), few(one.false_rollbacks),
            few(one.held), few(one.undecided), few(one.no_data),
        ]
        for value, one in found.items()
    ]  # fmt: skip
    return Sheet(columns, rows, whose)


def releases(trial: Trial) -> Sheet:
    """Every release: what was said and when."""
    columns = [
        "release", "label", "outcome", "decision", "at", "time to detect",
        "last verdict", "rule",
    ]  # fmt: skip
    return Sheet(columns, [_release(row) for row in trial.rows], trial.name)


def name_of(row: Row | Difference) -> str:
    """What a row is about, in one word."""
    where = "" if row.environment == "production" else f" ({row.environment})"
    part = f" {row.component}" if row.component else ""
    return f"{row.service} {row.release}{part}{where}"


def _release(row: Row) -> list[str]:
    label = {True: "harmful", False: "healthy", None: "-"}[row.harmful]
    outcome = row.outcome
    if row.history_was_first:
        outcome += f", taken back in the history at {clock(row.ended_ms)}"
    at_ms = row.taken_back_ms if row.taken_back_ms is not None else row.held_ms
    spent = length(row.time_to_detect_ms)
    return [
        name_of(row), label, outcome, row.decision, clock(at_ms), spent, row.verdict,
        row.rule,
    ]  # fmt: skip


def said(trial: Trial) -> Sheet:
    """Each word in its order, about each release."""
    rows = [
        [
            name_of(row),
            clock(word.decided_ms),
            word.said if word.is_verdict else f"{word.said} ({word.state})",
            f"{word.log_e:.1f}",
            ", ".join(word.reasons),
        ]
        for row in trial.rows
        for word in row.words
    ]
    columns = ["release", "when", "said", "log_e", "reasons"]
    return Sheet(columns, rows, trial.name)


def changed(outcome: Outcome) -> Iterator[Sheet]:
    """What each further rule set decides otherwise than the first."""
    for pair in outcome.against:
        rows = [
            [name_of(one), one.before, one.after, _later(one.by_ms)]
            for one in pair.differences
        ]
        columns = ["release", pair.first, pair.other, "taken back"]
        caption = f"{pair.other} beside {pair.first}"
        yield Sheet(columns, rows, caption if rows else f"{caption}: no difference")


def _later(by_ms: int | None) -> str:
    if by_ms is None:
        return "-"
    if by_ms == 0:
        return "at the same time"
    return f"{length(abs(by_ms))} {'later' if by_ms > 0 else 'earlier'}"


def text_of(sheet: Sheet) -> str:
    """A table for a terminal; figures that are wider than the rest push nothing."""
    lines = [[str(cell) for cell in row] for row in (sheet.columns, *sheet.rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    shown = [
        "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
        for row in lines
    ]
    if not sheet.rows:
        shown = []
    return "\n".join([*([sheet.caption] if sheet.caption else []), *shown])
