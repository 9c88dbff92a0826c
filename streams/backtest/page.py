"""The report of a backtest as a page with plots."""

from __future__ import annotations

from collections.abc import Sequence
from math import log

from detector.backtest.scores import Row
from streams.backtest import sheets
from streams.backtest.outcome import Outcome, Trial, clock
from streams.report import Note, Picture, Section, Sheet, figure, render, svg_of

INCIDENTS_MOST = 12
MINUTE_MS = 60_000


def page_of(outcome: Outcome, notes: Sequence[str], made_by: str) -> str:
    """The page as HTML.

    Parameters
    ----------
    notes : sequence of str
        What the reader has to know about the figures.

    Raises
    ------
    Refused
        What plots and pages are made with is not installed.
    """
    span = f"{outcome.lines:,} lines from {clock(outcome.begin_ms)}"
    heading = Note(f"{outcome.source}: {span} to {clock(outcome.end_ms)}")
    doubts = [Note(note, "doubtful") for note in notes]
    sections = [
        Section("Summary", [heading, *doubts, sheets.overview(outcome.trials)]),
        Section("Precision and recall", [_shares(outcome.trials)]),
        Section("Time to detect", [_times(outcome.trials)]),
        Section("Evidence over time", _evidence(outcome.trials)),
    ]
    if outcome.against:
        sections.append(Section("Differences", list(sheets.changed(outcome))))
    for trial in outcome.trials:
        parts: list[Sheet] = [
            sheets.groups("service", trial.by_service, "by service"),
            sheets.groups("rule", trial.by_rule, "by rule"),
            sheets.releases(trial),
            sheets.said(trial),
        ]
        sections.append(Section(f"{trial.name} ({trial.hash[:12]})", parts))
    return render("Backtest", sections, made_by=made_by)


def _shares(trials: Sequence[Trial]) -> Picture:
    words = ("precision", "recall", "false_rollbacks")
    with figure(8, 1.2 + 0.4 * len(trials)) as (made, axes):
        for place, trial in enumerate(trials):
            for number, word in enumerate(words):
                found = getattr(trial.summary, word)
                if found.value is None:
                    continue
                at = place + (number - 1) * 0.22
                axes.plot([found.low, found.high], [at, at], color=f"C{number}")
                label = word.replace("_", " ") if place == 0 else None
                axes.plot([found.value], [at], "o", color=f"C{number}", label=label)
        axes.set_yticks(range(len(trials)), [trial.name for trial in trials])
        axes.set_ylim(len(trials) - 0.5, -0.5)
        axes.set_xlim(-0.02, 1.02)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
        return Picture(svg_of(made), "Shares with 95 % exact intervals.")


def _times(trials: Sequence[Trial]) -> Picture:
    with figure(8, 1.2 + 0.4 * len(trials)) as (made, axes):
        for place, trial in enumerate(trials):
            minutes = [t / MINUTE_MS for t in trial.summary.times_to_detect_ms]
            axes.plot(minutes, [place] * len(minutes), "o", alpha=0.6)
            middle = trial.summary.median_time_to_detect_ms
            if middle is not None:
                axes.plot([middle / MINUTE_MS], [place], "|", color="black", ms=18)
        axes.set_yticks(range(len(trials)), [trial.name for trial in trials])
        axes.set_ylim(len(trials) - 0.5, -0.5)
        axes.set_xlabel("minutes from the onset")
        caption = "Each labelled incident that was found; the bar is the median."
        return Picture(svg_of(made), caption)


def _evidence(trials: Sequence[Trial]) -> list[Note | Sheet | Picture]:
    incidents = [r for r in trials[0].rows if r.harmful][:INCIDENTS_MOST]
    if not incidents:
        return [Note("No release is labelled as harmful, or none is in the history.")]
    rows = [{row.key: row for row in trial.rows} for trial in trials]
    return [
        _curve(
            one, [(t.name, r.get(one.key)) for t, r in zip(trials, rows, strict=True)]
        )
        for one in incidents
    ]


def _curve(incident: Row, rows: Sequence[tuple[str, Row | None]]) -> Picture:
    points = [ms for _, row in rows if row for ms, _ in row.evidence]
    start_ms = incident.onset_ms or min(points, default=0)
    with figure(8, 2.6) as (made, axes):
        for number, (name, row) in enumerate(rows):
            if row is None:
                continue
            minutes = [(ms - start_ms) / MINUTE_MS for ms, _ in row.evidence]
            levels = [log_e for _, log_e in row.evidence]
            axes.plot(minutes, levels, color=f"C{number}", label=name)
            if row.taken_back_ms is not None:
                at = (row.taken_back_ms - start_ms) / MINUTE_MS
                axes.axvline(at, color=f"C{number}", linestyle=":")
        axes.axhline(log(400), color="grey", linewidth=0.7)
        if incident.onset_ms is not None:
            axes.axvline(0, color="grey", linewidth=0.7)
        axes.set_xlabel("minutes from the onset" if incident.onset_ms else "minutes")
        axes.set_ylabel("log_e")
        axes.legend()
        caption = (
            f"{sheets.name_of(incident)}: natural logarithm of the evidence; dotted: "
            "taken back; level: that of the default alpha, 1/400."
        )
        return Picture(svg_of(made), caption)
