"""How good rules were: each release beside its label, and what that comes to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import median

from msgspec import Struct

from detector.backtest.courses import TAKES_BACK
from detector.backtest.intervals import Share, share
from detector.backtest.labels import Label
from detector.backtest.told import Part, Told, Word
from detector.verdicts import Action, RecommendationState, Verdict

ONSET_TOLERANCE_MS = 300_000
"""People say since when as well as they know it: a decision may come so much before."""

NO_DATA = (Verdict.NO_DATA, Verdict.UNRELIABLE, "none")


class Row(Struct):
    """One release under one rule set.

    ``outcome`` is found, missed or too early where the release was harmful, false
    rollback or left alone where it was not, taken back or not taken back where nobody
    said. ``taken_back_ms`` is when it was first asked to take the release back, for
    found ones the first time that counts. ``verdict`` is the last one, ``none`` where
    nothing was said. ``false`` counts recommendations to take back what was harmless.
    """

    service: str
    environment: str
    release: str
    component: str | None
    harmful: bool | None
    onset_ms: int | None
    note: str
    outcome: str
    verdict: str
    action: str | None
    rule: str
    taken_back_ms: int | None
    time_to_detect_ms: int | None
    held_ms: int | None
    false: int
    ended_ms: int | None
    words: list[Word]
    evidence: list[tuple[int, float]]

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What the row is about."""
        return (self.service, self.environment, self.release, self.component or "")

    @property
    def decision(self) -> str:
        """Taken back, held or neither."""
        if self.taken_back_ms is not None:
            return f"{self.action} asked for"
        return "held" if self.held_ms is not None else "let go on"

    @property
    def history_was_first(self) -> bool:
        """Missed, but people or machines had taken it back in the history."""
        return self.outcome == "missed" and self.ended_ms is not None


class Summary(Struct):
    """Figures of some releases under one rule set; times in milliseconds."""

    releases: int
    harmful: int
    healthy: int
    unlabelled: int
    precision: Share
    recall: Share
    false_rollbacks: Share
    false_recommendations: int
    held: Share
    undecided: Share
    no_data: Share
    too_early: int
    ended_by_history: int
    times_to_detect_ms: list[int]
    median_time_to_detect_ms: float | None


def rows_of(
    parts: Iterable[Part],
    labels: Sequence[Label],
    *,
    unlabelled_healthy: bool = False,
    onset_tolerance_ms: int = ONSET_TOLERANCE_MS,
) -> tuple[list[Row], list[Label]]:
    """Rows in order of service, environment and release; labels of unknown releases.

    A label without a component stands for the release with all of its components.
    """
    told: dict[tuple[str, str, str], Told] = {}
    for part in parts:
        for environment, release in part.seen:
            key = (part.service, environment, release)
            told.setdefault(key, Told(*key))
        told.update({(t.service, t.environment, t.release): t for t in part.releases})
    rows, absent, covered = [], [], set()
    for label in labels:
        key = (label.service, label.environment, label.release)
        if key not in told:
            absent.append(label)
            continue
        covered.add(key)
        rows.append(_row(told[key], label, onset_tolerance_ms))
    for key, one in told.items():
        if key not in covered and one.words:
            healthy = Label(*key, None, False) if unlabelled_healthy else None
            rows.append(_row(one, healthy, onset_tolerance_ms))
    return sorted(rows, key=lambda row: row.key), absent


def _row(told: Told, label: Label | None, tolerance_ms: int) -> Row:
    component = label.component if label else None
    words = [w for w in told.words if component in (None, w.component) or (
        w.component is None and label is not None and label.harmful)]  # fmt: skip
    asked: dict[str, Word] = {}
    for word in words:
        if word.said in TAKES_BACK and word.state == RecommendationState.OPEN:
            asked.setdefault(word.id or "", word)
    takes = list(asked.values())
    held = next((w for w in words if not w.is_verdict and w.said == Action.HOLD), None)
    harmful = label.harmful if label else None
    onset_ms = label.onset_ms if label else None
    in_time = [
        w for w in takes if onset_ms is None or w.decided_ms >= onset_ms - tolerance_ms
    ]
    chosen = (in_time if harmful and in_time else takes)[:1]
    first = chosen[0] if chosen else None
    last = _last_verdict(words)
    detect_ms = None
    if harmful and in_time and onset_ms is not None:
        detect_ms = in_time[0].decided_ms - onset_ms
    return Row(
        told.service,
        told.environment,
        told.release,
        component,
        harmful,
        onset_ms,
        label.note if label else "",
        _outcome(harmful, bool(takes), bool(in_time)),
        last.said if last else "none",
        first.said if first else None,
        (first or last).rule if first or last else "-",  # type: ignore[union-attr]
        first.decided_ms if first else None,
        detect_ms,
        held.decided_ms if held else None,
        len(takes) - len(in_time) if harmful else len(takes) * (harmful is False),
        told.ended_ms,
        words,
        told.evidence,
    )


def _last_verdict(words: Sequence[Word]) -> Word | None:
    """The last verdict on the release itself, else on a component."""
    verdicts = [word for word in words if word.is_verdict]
    whole = [word for word in verdicts if word.component is None]
    return (whole or verdicts or [None])[-1]  # type: ignore[list-item]


def _outcome(harmful: bool | None, taken: bool, in_time: bool) -> str:
    if harmful is None:
        return "taken back" if taken else "not taken back"
    if not harmful:
        return "false rollback" if taken else "left alone"
    return "found" if in_time else "too early" if taken else "missed"


def summary_of(rows: Sequence[Row]) -> Summary:
    """Figures of rows; only labelled ones count for precision and recall."""
    count = _counter(rows)
    harmful = count(lambda row: row.harmful is True)
    healthy = count(lambda row: row.harmful is False)
    found = count(lambda row: row.outcome == "found")
    false = count(lambda row: row.outcome == "false rollback")
    early = count(lambda row: row.outcome == "too early")
    times = [r.time_to_detect_ms for r in rows if r.time_to_detect_ms is not None]
    return Summary(
        len(rows),
        harmful,
        healthy,
        len(rows) - harmful - healthy,
        share(found, found + false + early),
        share(found, harmful),
        share(false, healthy),
        sum(row.false for row in rows),
        share(count(lambda row: row.held_ms is not None), len(rows)),
        share(count(lambda r: r.verdict == Verdict.INCONCLUSIVE), len(rows)),
        share(count(lambda row: row.verdict in NO_DATA), len(rows)),
        early,
        count(lambda row: row.history_was_first),
        sorted(times),
        median(times) if times else None,
    )


def _counter(rows: Sequence[Row]) -> Callable[[Callable[[Row], bool]], int]:
    return lambda fits: sum(map(fits, rows))


def grouped(rows: Sequence[Row], name: str) -> Mapping[str, Summary]:
    """Figures by the value of a field of the rows: ``service`` or ``rule``."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(getattr(row, name), []).append(row)
    return {value: summary_of(groups[value]) for value in sorted(groups)}


class Difference(Struct):
    """A release about which two rule sets do not agree.

    ``by_ms`` is how much later the second asked to take it back, where both did.
    """

    service: str
    environment: str
    release: str
    component: str | None
    before: str
    after: str
    by_ms: int | None


def differences(before: Sequence[Row], after: Sequence[Row]) -> list[Difference]:
    """Releases judged otherwise, taken back at another time, or by another cut.

    Rows are of the same history and labels, so they are about the same releases.
    """
    others = {row.key: row for row in after}
    firsts = {row.key: row for row in before}
    found = []
    for key in sorted(firsts | others):
        one, other = firsts.get(key), others.get(key)
        whose = one or other
        assert whose is not None
        left, right = _judgement(one), _judgement(other)
        by_ms = None
        if one and other and None not in (one.taken_back_ms, other.taken_back_ms):
            by_ms = (other.taken_back_ms or 0) - (one.taken_back_ms or 0)
        if left != right or by_ms:
            place = (whose.service, whose.environment, whose.release, whose.component)
            found.append(Difference(*place, left, right, by_ms))
    return found


def _judgement(row: Row | None) -> str:
    if row is None:
        return "nothing said"
    segments = {str(w.segment) for w in row.words if w.segment and w.said in TAKES_BACK}
    where = f" in {' and '.join(sorted(segments))}" if segments else ""
    return f"{row.verdict}, {row.decision}{where}"
