"""What ``hypercare inject`` found: as text, JSON lines and a page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from detector.backtest.injected import Row, Trial, Word
from detector.backtest.intervals import Share
from streams.report import Note, Picture, Section, Sheet, figure, render, svg_of

COLUMNS = (
    *("what", "size", "segment", "rules", "found", "95 %", "doubted"),
    *("median time", "false before", "false after"),
)
CONTROL = ("rules", "release", "first doubt", "first to be taken back")


class Report(NamedTuple):
    """All that was found."""

    rows: list[Row]
    trials: list[Trial]
    left_out: list[tuple[str, str]]
    seed: int
    after: str

    @property
    def releases(self) -> list[str]:
        """The releases that were spoilt."""
        return list(dict.fromkeys(_release(trial) for trial in self.trials))

    @property
    def control(self) -> list[tuple[str, str, Word, int]]:
        """Rule set, release, word without any injection, onset in epoch ms."""
        found = {(t.rules, _release(t)): t for t in self.trials}
        return [(*key, t.control, t.injection.onset_ms) for key, t in found.items()]


def text_lines(report: Report) -> Iterator[str]:
    """The tables for a terminal."""
    yield (
        f"{len(report.releases)} releases spoilt, from {report.after} on, "
        f"seed {report.seed}"
    )
    yield ""
    yield from _table(COLUMNS, _rows(report))
    yield ""
    yield "Without any injection:"
    yield from _table(CONTROL, _control(report))
    for name, why in report.left_out:
        yield f"left out: {name}: {why}"


def json_lines(report: Report) -> Iterator[str]:
    """One object for each row, trial and release left out."""
    for row in report.rows:
        yield _json({"type": "row", **row._asdict(), **_shares(row)})
    for t in report.trials:
        made = t.injection
        yield _json(
            {
                "type": "trial",
                "rules": t.rules,
                "service": made.service,
                "environment": made.environment,
                "release": made.release,
                "what": made.what,
                "size": made.size,
                "segment": dict(made.segment),
                "onset_ms": made.onset_ms,
                "seed": made.seed,
                "control": t.control._asdict(),
                "found": t.found._asdict(),
                "delay_s": t.delay_s,
            }
        )
    for name, why in report.left_out:
        yield _json({"type": "left_out", "release": name, "why": why})


def page_of(report: Report) -> str:
    """The same as one HTML file."""
    parts: list[Note | Sheet | Picture] = [
        Note(
            f"Synthetic regressions in {len(report.releases)} recorded releases, from "
            f"{report.after} on (after the deploy, or at that time), seed "
            f"{report.seed}. Found: the release was to be taken back. Doubted: held, "
            "investigated or taken back. Releases that the rules take back without any "
            "injection count as false, and neither as found nor as missed."
        ),
        Sheet(COLUMNS, _rows(report)),
    ]
    for what in dict.fromkeys(row.what for row in report.rows):
        rows = [row for row in report.rows if row.what == what]
        if len({row.size for row in rows}) > 1:
            parts.append(_picture(what, rows))
    left = [Note(f"{name}: {why}") for name, why in report.left_out]
    sections = [
        Section("Which regressions are found", parts),
        Section("Without any injection", [Sheet(CONTROL, _control(report))]),
        *([Section("Left out", left)] if left else []),
    ]
    return render("Injected regressions", sections, made_by="hypercare inject")


def _picture(what: str, rows: list[Row]) -> Picture:
    with figure() as (made, axes):
        for key in dict.fromkeys((row.rules, row.segment) for row in rows):
            own = sorted(
                (r for r in rows if (r.rules, r.segment) == key and r.found.of),
                key=lambda r: r.size,
            )
            values = [r.found.value or 0.0 for r in own]
            both = list(zip(values, (r.found for r in own), strict=True))
            low = [max(0.0, v - found.low) for v, found in both]
            high = [max(0.0, found.high - v) for v, found in both]
            sizes, label = [r.size for r in own], ", ".join(key)
            axes.errorbar(
                sizes, values, [low, high], marker="o", capsize=3, label=label
            )
        axes.set_xlabel(f"size of the regression ({what})")
        axes.set_ylabel("share found")
        axes.set_ylim(-0.03, 1.03)
        axes.legend()
        return Picture(svg_of(made), f"{what}: share found, with 95 % intervals")


def _rows(report: Report) -> list[list[str]]:
    return [
        [
            row.what,
            f"{row.size:g}",
            row.segment,
            row.rules,
            f"{row.found.hits} of {row.found.of}",
            f"{row.found.low:.0%}..{row.found.high:.0%}" if row.found.of else "-",
            f"{row.doubted.hits} of {row.doubted.of}",
            _length(row.median_s),
            str(row.false_before),
            str(row.false_after),
        ]
        for row in report.rows
    ]


def _control(report: Report) -> list[list[str]]:
    return [
        [rules, release, *(_since(at, onset_ms) for at in word)]
        for rules, release, word, onset_ms in report.control
    ]


def _since(at_ms: int | None, onset_ms: int) -> str:
    if at_ms is None:
        return "never"
    when = "after" if at_ms > onset_ms else "before"
    return f"{_length(abs(at_ms - onset_ms) / 1000)} {when} the onset"


def _length(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _shares(row: Row) -> dict[str, object]:
    def spelt(one: Share) -> dict[str, object]:
        return {"value": one.value, **one._asdict()}

    return {"found": spelt(row.found), "doubted": spelt(row.doubted)}


def _release(trial: Trial) -> str:
    made = trial.injection
    where = "" if made.environment == "production" else f" ({made.environment})"
    return f"{made.service}/{made.release}{where}"


def _table(head: tuple[str, ...], rows: list[list[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for cells in (head, *rows):
        padded = (cell.ljust(w) for cell, w in zip(cells, widths, strict=True))
        yield "  ".join(padded).rstrip()


def _json(found: object) -> str:
    return msgspec.json.encode(found).decode()
