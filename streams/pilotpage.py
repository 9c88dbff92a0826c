"""The page of a pilot: as lines for a terminal, as JSON, as sections of a report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from detector.backtest.goahead import (
    Check,
    Decision,
    Limits,
    Standing,
    Tally,
    checks,
    decide,
    more_needed,
    tally,
    upper,
)
from detector.backtest.intervals import share
from detector.backtest.pilot import Outcome, Pilot, Said, Truth
from detector.verdicts import Action
from streams.report import Note, Picture, Section, Sheet, figure, svg_of

TONES = {Decision.GO: "good", Decision.NO_GO: "bad", Decision.TOO_EARLY: "doubtful"}
COLUMNS = ["release", "would", "live", "ahead", "was"]
SHOWN = 50
"""Releases in the table: those about which anything was said, newest first."""


class Page(NamedTuple):
    """A pilot with what was concluded from it; ``name`` is the candidate's, or None."""

    pilot: Pilot
    name: str | None
    limits: Limits
    found: Tally
    checks: list[Check]
    decision: Decision

    @classmethod
    def of(cls, pilot: Pilot, name: str | None, limits: Limits) -> Page:
        """Conclude."""
        made = checks(pilot, limits)
        return cls(pilot, name, limits, tally(pilot), made, decide(made))

    @property
    def title(self) -> str:
        """What was tried."""
        if self.pilot.is_alone:
            return "Pilot of Hypercare under its live rules"
        return f"Pilot of {self.name} beside the live rules"

    @property
    def labelled(self) -> list[Outcome]:
        """Releases it would have taken back and nobody has labelled."""
        every = self.pilot.outcomes
        return [o for o in every if o.take is not None and o.truth is Truth.UNKNOWN]


def to_json(page: Page) -> dict[str, Any]:
    """The page for programs; times in ms."""
    pilot, found = page.pilot, page.found
    false = share(found.false, found.seen)
    limit = page.limits.false_per_100 / 100
    more = more_needed(found.false, found.seen, limit, page.limits.confidence)
    return {
        "decision": page.decision,
        "candidate": page.name,
        "begin_ms": pilot.begin_ms,
        "end_ms": pilot.end_ms,
        "days": round(pilot.days, 3),
        "rules": list(pilot.hashes),
        "live_rules": list(pilot.live_hashes),
        "began_before": pilot.before,
        **found._asdict(),
        "false_per_100": {
            "value": None if false.value is None else 100 * false.value,
            "interval_95": [100 * false.low, 100 * false.high],
            "upper": 100 * upper(found.false, found.seen, page.limits.confidence),
            "confidence": page.limits.confidence,
        },
        "releases_needed": more,
        "checks": [one._asdict() for one in page.checks],
        "releases": [_release(one) for one in pilot.outcomes],
    }


def _release(one: Outcome) -> dict[str, Any]:
    return {
        **one.name._asdict(),
        "truth": one.truth,
        "label": one.label,
        "ended_ms": one.ended_ms,
        "executed_by_hypercare": one.by_hypercare,
        "is_over": one.is_over,
        "cut_short": one.cut_short,
        "ahead_ms": one.lead_ms,
        "live": _arm(one.live),
        "tried": _arm(one.tried),
    }


def _arm(said: Said | None) -> dict[str, Any] | None:
    if said is None:
        return None
    take = said.take._asdict() if said.take else None
    return {**said._asdict(), "take": take}


def to_lines(page: Page) -> Iterator[str]:
    """The page for a terminal."""
    yield f"{page.title}: {page.decision.upper()}"
    yield from facts(page)
    yield ""
    for one in page.checks:
        yield f"{one.standing.value:<8}{one.question}: {one.why}"
    rows = _rows(page)
    if rows:
        yield ""
        yield from _aligned([COLUMNS, *rows])
    if page.labelled:
        yield ""
        yield "Say what these were:"
        yield from (f"  {line}" for line in to_label(page))


def facts(page: Page) -> Iterator[str]:
    """What was seen, in sentences."""
    pilot, found = page.pilot, page.found
    if pilot.begin_ms < 0:
        yield "nothing was said yet"
        return
    yield f"{_when(pilot.begin_ms)} to {_when(pilot.end_ms)}, {pilot.days:.1f} days"
    yield from _rules(page)
    yield (
        f"{found.seen} releases seen to their end, {found.running} still running, "
        f"{found.unjudged} without data to judge by, {found.cut_short} gone before it "
        f"spoke, {pilot.before} begun before and left out"
    )
    yield (
        f"would have taken back {found.taken}: {found.right} right, {found.false} "
        f"wrong, {found.unlabelled} unlabelled; missed {found.missed} harmful ones"
    )
    false = share(found.false, found.seen)
    value = "-" if false.value is None else f"{100 * false.value:.2g}"
    yield (
        f"false rollbacks per 100 releases: {value} "
        f"({100 * false.low:.2g} to {100 * false.high:.2g}, exact 95 % interval)"
    )
    if not pilot.is_alone:
        yield (
            f"beside live: {found.earlier} earlier, {found.later} later, {found.same} "
            f"at once; {found.only_tried} of it alone, {found.only_live} of live alone"
        )


def _rules(page: Page) -> Iterator[str]:
    tried, live = page.pilot.hashes, page.pilot.live_hashes
    if not page.pilot.is_alone and tried:
        more = f", counted from its last change of {len(tried) - 1} on"
        yield f"candidate {tried[-1][:12]}{more if len(tried) > 1 else ''}"
    if len(live) > 1:
        names = ", ".join(one[:12] for one in live)
        yield f"the live rules changed meanwhile: {names}"
    elif live:
        yield f"live rules {live[0][:12]}"


def to_label(page: Page) -> Iterator[str]:
    """How to say what unlabelled releases were.

    What live recommended is known to `hypercare label`; the rest goes into a file.
    """
    for one in page.labelled:
        live = one.live.take if one.live else None
        if live is not None and live.recommendation_id:
            known_as = live.recommendation_id
            yield f"hypercare label {known_as} right|wrong|late --why WHY"
        else:
            yield f"--labels FILE: {','.join(one.name)},right|wrong|late"


def _rows(page: Page) -> list[list[str]]:
    told = [one for one in page.pilot.outcomes if _is_told(one)]
    return [_row(one, page.pilot.is_alone) for one in reversed(told[-SHOWN:])]


def _is_told(one: Outcome) -> bool:
    said = [arm.largest for arm in (one.live, one.tried) if arm is not None]
    quiet = all(action is Action.CONTINUE for action in said)
    return not quiet or one.truth is not Truth.UNKNOWN


def _row(one: Outcome, is_alone: bool) -> list[str]:
    ahead = "" if one.lead_ms is None or is_alone else f"{one.lead_ms / 1000:+.0f} s"
    was = one.label or ("taken back by people" if one.truth is Truth.HARMFUL else "?")
    if one.cut_short:
        was += ", gone before it spoke"
    would = _largest(one.tried)
    return [
        "/".join(one.name),
        would,
        "" if is_alone else _largest(one.live),
        ahead,
        was,
    ]


def _largest(said: Said | None) -> str:
    if said is None:
        return "not seen"
    if said.take is None:
        return said.largest.value
    return f"{said.take.action.value} {_when(said.take.at_ms)}"


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()


def _when(at_ms: int) -> str:
    told = datetime.fromtimestamp(at_ms / 1000, UTC)
    return told.strftime("%Y-%m-%dT%H:%M:%SZ")


def to_sections(page: Page) -> list[Section]:
    """The page for a report.

    Raises
    ------
    Refused
        matplotlib is not installed.
    """
    tones = {Standing.MET: "met", Standing.OPEN: "open", Standing.REFUTED: "refuted"}
    asked = [[tones[c.standing], c.question, c.why] for c in page.checks]
    sections = [
        Section(
            f"Recommendation: {page.decision}",
            [
                *(Note(text, TONES[page.decision]) for text in _meaning(page)),
                Sheet(["", "question", "answer"], asked),
            ],
        ),
        Section("What was seen", [*(Note(text) for text in facts(page)), _bound(page)]),
        Section(
            "Releases", [Sheet(COLUMNS, _rows(page), "Newest first, times in UTC")]
        ),
    ]
    if page.labelled:
        notes = [Note(line) for line in to_label(page)]
        sections.append(Section("To be labelled", notes))
    return sections


def _meaning(page: Page) -> Iterator[str]:
    for standing in (Standing.REFUTED, Standing.OPEN):
        wrong = [one.question for one in page.checks if one.standing is standing]
        if wrong:
            yield f"Not shown: {'; '.join(wrong)}."
            return
    yield "All that was asked has been shown."


def _bound(page: Page) -> Picture:
    """How the bound on false rollbacks falls with further releases."""
    found, limits = page.found, page.limits
    more = more_needed(
        found.false, found.seen, limits.false_per_100 / 100, limits.confidence
    )
    last = found.seen + max(10, int(1.5 * (more or 300)))
    first = max(1, found.seen)
    steps = sorted({first + (last - first) * n // 60 for n in range(61)})
    bounds = [100 * upper(found.false, n, limits.confidence) for n in steps]
    with figure() as (made, axes):
        axes.plot(steps, bounds, color="#0969da")
        axes.plot(steps[:1], bounds[:1], "o", color="#0969da")
        axes.axhline(limits.false_per_100, color="#b42318", linestyle="--")
        axes.set_yscale("log")
        axes.set_xlabel("releases seen, the further ones without a false rollback")
        axes.set_ylabel("upper bound per 100")
        svg = svg_of(made)
    caption = (
        f"False rollbacks per 100 releases are below the line with "
        f"{100 * limits.confidence:g} % confidence; dashed: what is asked for."
    )
    return Picture(svg, caption)
