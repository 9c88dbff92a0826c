"""The story of a release as sections: the terminal and the page show the same."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import groupby

from detector.audit import Json
from detector.ruletest.notation import shown_time
from detector.story import Story
from detector.verdicts import (
    Action,
    Arm,
    ReasonCode,
    RecommendationRecord,
    SignalEvidence,
    Verdict,
    VerdictRecord,
)
from detector.wording import ACTION_WORDS, RATIO_LIMIT, REASON_WORDS, segment_text
from streams.explain.gather import Found
from streams.report import Note, Picture, Section, Sheet

Part = Note | Sheet | Picture

UNJUDGED = (Verdict.NO_DATA, Verdict.UNRELIABLE)

LOG_E_WORDS = (
    "log_e is the natural logarithm of the evidence for harm beyond the margin. A "
    "harmless release ever gets above log(1/alpha) with probability alpha at most; "
    "where guarantee says empirical, that rate is measured, not proven."
)


def title_of(found: Found) -> str:
    """The release and what is said of it."""
    story = found.story
    newest = story.newest
    if newest is not None:
        to = f" to {newest.target}" if newest.target else ""
        return f"{story.about}: {newest.action}{to}, {newest.state}"
    return f"{story.about}: {story.verdicts[-1].verdict}"


def sections_of(found: Found, course: Picture | None) -> list[Section]:
    """What there is to tell, the answer first.

    Parameters
    ----------
    course : Picture or None
        The evidence over time; None where nothing of it is known.
    """
    story = found.story
    spoken = story.spoken
    what: list[Part] = [*_headline(story), _facts(found), *_notes(found)]
    sections = [Section("What", what)]
    if story.verdicts:
        sections.append(Section("Why", list(_why(story))))
    if spoken is not None and spoken.evidence:
        sections.append(Section("Evidence", _evidence(found, spoken)))
    if course is not None:
        sections.append(Section("Evidence over time", [course]))
    sections.append(Section("How it went", [_timeline(found)]))
    if spoken is not None and spoken.top_signatures:
        sections.append(Section("What fails", [_signatures(spoken)]))
    others = list(_others(story.verdicts[-1])) if story.verdicts else []
    if others:
        sections.append(Section("What else changed", others))
    if story.newest is not None and story.newest.effects:
        sections.append(Section("What each action would spare", [_effects(story)]))
    sections.append(Section("Next", [Sheet(["", ""], list(_next(story)))]))
    return sections


def _headline(story: Story) -> Iterator[Note]:
    """The harm as it was told first, then what became of it."""
    newest, last = story.newest, story.verdicts[-1:]
    if newest is not None and story.revisions[0].sentence != story.sentence:
        yield Note(story.revisions[0].sentence, "bad")
    verdict = last[0].verdict if last else Verdict.REGRESSED
    tone = "bad" if verdict is Verdict.REGRESSED else "doubtful"
    if verdict is Verdict.HEALTHY and newest is None:
        tone = "good"
    yield Note(story.sentence, tone)


def _facts(found: Found) -> Sheet:
    story = found.story
    rows: list[list[str]] = []
    newest, onset = story.newest, story.onset_ms
    if newest is not None:
        first = story.revisions[0]
        after = "" if onset is None else f", {_span(first.decided_at - onset)} after"
        rows += [
            ["recommendation", f"{newest.id}, revision {newest.revision}"],
            ["action", _action(newest.action, newest.target, newest.mode)],
            ["harm since", _when(onset)],
            ["said first", f"{_when(first.decided_at)}{after}"],
            ["where", segment_text(tuple((newest.segment or {}).items()))],
        ]
        if newest.deployed_by:
            rows.append(["deployed by", ", ".join(newest.deployed_by)])
    if story.verdicts:
        last = story.verdicts[-1]
        rows.append(["verdict", f"{last.verdict} since {_when(last.decided_at)}"])
        if last.owner:
            rows.append(["owner", last.owner])
    budget = "" if found.alpha is None else f", alpha {found.alpha:g}"
    rows.append(["rule", f"{story.rule}{budget}, rules {story.rules_hash[:12]}"])
    if story.verdicts:
        rows.append(["decided by", f"Hypercare {story.verdicts[-1].code_version}"])
    if found.again:
        rows.append(["made again", found.again])
    if story.others:
        rows.append(["others", ", ".join(story.others)])
    return Sheet(["", ""], rows)


def _notes(found: Found) -> Iterator[Note]:
    if found.differs:
        yield Note(
            "What comes out now is not what was said then. See where: "
            f"hypercare replay --id {found.story.about}",
            "bad",
        )
    yield from (Note(text, "doubtful") for text in found.notes)


def _why(story: Story) -> Iterator[Part]:
    spoken = story.spoken
    assert spoken is not None
    yield _reasons(spoken.reasons)
    last = story.verdicts[-1]
    if last.reasons != spoken.reasons:
        yield Note("and now:")
        yield _reasons(last.reasons)
    if last.change_needs:
        yield Note(f"To change this: {last.change_needs}")


def _reasons(reasons: tuple[ReasonCode, ...]) -> Sheet:
    rows = [[code, REASON_WORDS[code]] for code in reasons]
    return Sheet(["", ""], rows)


def _evidence(found: Found, spoken: VerdictRecord) -> list[Part]:
    columns = [
        "signal", "where", "failed", "beside it", "ratio (95 %)", "margin", "log_e",
        "compared with", "guarantee", "flagged",
    ]  # fmt: skip
    rows = [_evidence_row(one) for one in spoken.evidence]
    asked = "" if found.level is None else f" This rule asks for {found.level:.2f}."
    return [
        Sheet(columns, rows, f"as of {_when(spoken.window_end)}"),
        Note(LOG_E_WORDS + asked),
    ]


def _evidence_row(one: SignalEvidence) -> list[str]:
    return [
        one.signal,
        segment_text(tuple((one.segment or {}).items())),
        _arm(one.candidate, one.unit),
        _arm(one.control_arm, one.unit),
        _ratio(one.rate_ratio),
        f"{one.margin:g}",
        f"{one.log_e:.2f}",
        one.control,
        one.guarantee,
        "yes" if one.flagged else "",
    ]


def _timeline(found: Found) -> Sheet:
    story = found.story
    rows: list[tuple[int, str, str]] = []
    for verdict in story.verdicts:
        words = "; ".join(REASON_WORDS[code] for code in verdict.reasons)
        rows.append((verdict.decided_at, "verdict", f"{verdict.verdict}: {words}"))
    for one, count in _issued(story):
        asks = _action(one.action, one.target, one.mode)
        again = f" (issued {count} times)" if count > 1 else ""
        said = f"revision {one.revision}, {one.state}: {asks}{again}"
        rows.append((one.issued_at, "recommendation", said))
    rows += [
        (_at(body), str(body.get("actor") or "told"), _said(body))
        for body in story.told
    ]
    for lease in found.leases:
        what = f"claims {lease.recommendation.action} of revision "
        rows.append(
            (lease.granted_ms, lease.holder, f"{what}{lease.recommendation.revision}")
        )
        if lease.ended_ms:
            detail = f": {lease.detail}" if lease.detail else ""
            rows.append((lease.ended_ms, lease.holder, f"{lease.state}{detail}"))
    rows.sort(key=lambda row: row[0])
    onset = story.onset_ms
    shown = [[_when(at), _since(at, onset), who, said] for at, who, said in rows]
    return Sheet(["at (UTC)", "after the onset", "who", "what"], shown)


def _issued(story: Story) -> Iterator[tuple[RecommendationRecord, int]]:
    """Each revision as it was issued first, and how often it was."""
    for _, several in groupby(story.revisions, key=lambda one: one.revision):
        issues = list(several)
        yield issues[0], len(issues)


def _said(body: Json) -> str:
    value = f" {body['value']}" if body.get("value") else ""
    why = f": {body['why']}" if body.get("why") else ""
    return f"{body.get('command')}{value}{why}"


def _at(body: Json) -> int:
    found = body.get("at")
    return found if isinstance(found, int) else 0


def _signatures(spoken: VerdictRecord) -> Sheet:
    rows = [
        [one.signature, f"{one.candidate:,.0f}", f"{one.control:,.0f}", one.url or ""]
        for one in spoken.top_signatures
    ]
    return Sheet(["signature", "here", "beside it", "link"], rows)


def _others(last: VerdictRecord) -> Iterator[Part]:
    if last.ambient_ratio is not None:
        yield Note(
            f"The other releases fail {last.ambient_ratio:.2g} times as often as they "
            "used to: far above 1, something besides this release may be wrong."
        )
    if last.competing_releases:
        yield Note(f"Beside it under judgement: {', '.join(last.competing_releases)}")
    if last.competing_changes:
        yield Sheet(
            ["changed with it", "to"], [*map(list, last.competing_changes.items())]
        )
    if last.fixed_signatures:
        rows = [
            [one.signature, one.fate, _ratio(one.ratio)]
            for one in last.fixed_signatures
        ]
        yield Sheet(["it was to fix", "which is", "ratio"], rows)


def _effects(story: Story) -> Sheet:
    assert story.newest is not None
    rows = [
        [_action(one.action, one.target), f"{one.spared_per_min:,.2g}", one.unit]
        for one in story.newest.effects
    ]
    return Sheet(["action", "spared a minute", "failing"], rows)


def _next(story: Story) -> Iterator[list[str]]:
    """What a person does now, each with the words to type."""
    newest = story.newest
    unjudged = story.verdicts and story.verdicts[-1].verdict in UNJUDGED
    if newest is not None or unjudged:
        yield ["what it means, what to do", _runbook(story)]
    if newest is not None:
        yield ["it was right, wrong or late", f"hypercare label {newest.id} right"]
        yield ["make it again from the log", f"hypercare replay {newest.id}"]
    else:
        yield ["make it again from the log", f"hypercare replay --id {story.about}"]
    service, environment = story.about.split("/")[:2]
    rules = f"hypercare rules explain {service} --environment {environment}"
    yield ["which rule holds, its values", rules]
    yield ["what its traffic can show", f"hypercare power {service} --topic"]


def _runbook(story: Story) -> str:
    last = story.verdicts[-1] if story.verdicts else None
    name = "ReleaseRegression"
    if last is not None and ReasonCode.ROLLBACK_DID_NOT_HELP in last.reasons:
        name = "RollbackDidNotHelp"
    elif last is not None and story.newest is None:
        silent = ReasonCode.WENT_SILENT in last.reasons
        name = "SourceSilent" if silent else "ReleaseUnjudged"
    return f"docs/runbooks/{name}.md"


def _action(action: Action, target: str | None, mode: str = "") -> str:
    said = f"{action} to {target}" if target else str(action)
    words = ACTION_WORDS[action]
    return f"{said} (mode {mode}): {words}" if mode else said


def _arm(arm: Arm, unit: str) -> str:
    names = f" ({', '.join(arm.releases)})" if arm.releases else ""
    return f"{arm.bad:,.0f} of {arm.units:,.0f} {unit}s{names}"


def _ratio(ratio: tuple[float, float, float]) -> str:
    low, best, high = ratio
    top = "no limit" if high >= RATIO_LIMIT else f"{high:.3g}"
    return f"{best:.3g} ({low:.3g} to {top})"


def _since(at_ms: int, onset_ms: int | None) -> str:
    if onset_ms is None:
        return ""
    sign = "-" if at_ms < onset_ms else ""
    return sign + _span(abs(at_ms - onset_ms))


def _span(ms: int) -> str:
    return shown_time(round(ms / 1000))


def _when(at_ms: int | None) -> str:
    if at_ms is None:
        return "-"
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
