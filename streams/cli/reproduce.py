"""What ``hypercare replay ID`` and ``replay --all`` do: decisions made again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from detector.audit import Audited
from detector.reproduce import Disagreement
from detector.rulefile import load_rules
from detector.version import CODE_VERSION
from streams.auditlog import chosen, read_audit
from streams.cli.common import Progress, lines_of, read_rules, settings
from streams.cli.exits import Exit
from streams.errors import Refused
from streams.pastlog import KafkaPast, RecordedPast, is_exact
from streams.reproducing import (
    PLAIN_APART,
    VERSION_APART,
    Outcome,
    Reproducer,
    other_versions,
    plain_outcome,
    rules_at_hand,
)
from streams.rulesdata import DEFAULT_RULES, default_rules_text

SHOWN_MOST = 20


@dataclass(frozen=True)
class Request:
    """What is to be made again, and from what."""

    wanted: str | None
    audit: Path | None
    histories: Sequence[Path]
    rules_file: Path | None
    other_version: bool
    as_json: bool


def reproduce(request: Request) -> Exit:
    """Make decisions again and say how they compare."""
    audit = read_audit(settings(), request.audit)
    wanted = audit if request.wanted is None else chosen(audit, request.wanted)
    strangers = other_versions(_with_verdicts(wanted, audit))
    if strangers and not request.other_version:
        _say_versions(strangers.most_common(), request.as_json)
        return Exit.FOUND
    apart = VERSION_APART if request.other_version else frozenset()
    outcome = _outcome(request, audit, wanted, apart)
    if request.as_json:
        click.echo(json.dumps(_told(outcome)))
    else:
        _print(outcome, None if request.wanted is None else wanted)
    found = outcome.compared
    if found.differing or found.absent:
        return Exit.FOUND
    return Exit.USAGE if outcome.missing else Exit.DONE


def _with_verdicts(
    wanted: Sequence[Audited], audit: Sequence[Audited]
) -> list[Audited]:
    """Records, and what was said with them: recommendations name no version."""
    places = {(record.service, record.offset) for record in wanted}
    return [r for r in audit if (r.service, r.offset) in places]


def _outcome(
    request: Request,
    audit: Sequence[Audited],
    wanted: Sequence[Audited],
    apart: frozenset[str],
) -> Outcome:
    shipped = load_rules(default_rules_text(), source=DEFAULT_RULES)
    known = rules_at_hand(read_rules(request.rules_file), shipped)
    progress = Progress("records")
    if not request.histories:
        past: KafkaPast | RecordedPast = KafkaPast(settings())
    elif all(is_exact(path) for path in request.histories):
        past = RecordedPast(request.histories)
    elif len(request.histories) == 1:
        return plain_outcome(wanted, lines_of(request.histories[0]), known, apart)
    else:
        raise Refused(
            "several recordings can only be put together if all are exact: "
            "`hypercare record --exact`"
        )
    maker = Reproducer(audit, past, known, progress.step)
    found = maker.all(apart) if wanted is audit else maker.some(wanted, apart)
    progress.done()
    return found


def _say_versions(versions: Sequence[tuple[str, int]], as_json: bool) -> None:
    if as_json:
        body = {"code_version": CODE_VERSION, "decided_by": dict(versions)}
        click.echo(json.dumps(body))
    for version, count in versions:
        click.echo(
            f"{count} records were decided by Hypercare {version}, this is "
            f"{CODE_VERSION}: run that version, or compare all but the version with "
            "--other-version",
            err=True,
        )


def _print(outcome: Outcome, wanted: Sequence[Audited] | None) -> None:
    found = outcome.compared
    for record in wanted or ():
        if not any(one.record is record for one in found.differing):
            click.echo(record.value)
    for ran in outcome.ran:
        click.echo(
            f"partition {ran.partition}: offsets {ran.first} to {ran.end - 1}, "
            f"in force at the end: rules {ran.rules_hash[:12]}",
            err=wanted is not None,
        )
    for one in found.differing[:SHOWN_MOST]:
        click.echo(_line(one))
    for missed in found.absent[:SHOWN_MOST]:
        click.echo(
            f"replay: {missed.kind} {missed.about} at offset {missed.offset}: "
            "not in the audit"
        )
    more = len(found.differing) + len(found.absent) - 2 * SHOWN_MOST
    if more > 0:
        click.echo(f"... and at most {more + SHOWN_MOST} more")
    for text in outcome.missing:
        click.echo(f"not replayed: {text}", err=True)
    if outcome.apart >= PLAIN_APART:
        click.echo(
            "offsets were not compared: a plain recording keeps none "
            "(`hypercare record --exact` does)",
            err=True,
        )
    click.echo(_summary(outcome), err=wanted is not None)


def _summary(outcome: Outcome) -> str:
    found = outcome.compared
    kinds = ", ".join(f"{n} {kind}s" for kind, n in sorted(found.identical.items()))
    parts = [f"{found.identical.total()} identical ({kinds or 'none'})"]
    parts.append(f"{len(found.differing)} differ")
    parts.append(f"{len(found.absent)} not in the audit")
    if outcome.unchecked:
        parts.append(f"{outcome.unchecked} not compared")
    return ", ".join(parts) + f"; Hypercare {CODE_VERSION}"


def _line(one: Disagreement) -> str:
    record, told = one.record, one.difference
    what = f"{record.kind} {record.about}" if record.body else "no JSON"
    head = f"{record.place}: {what}, offset {record.offset}"
    if told is None:
        return f"{head}: replay decides no such thing"
    return (
        f"{head}: first difference at {told.field}: audit {told.audited}, "
        f"replay {told.replayed}"
    )


def _told(outcome: Outcome) -> dict[str, object]:
    found = outcome.compared
    return {
        "identical": {str(kind): n for kind, n in sorted(found.identical.items())},
        "differing": [
            {
                "place": one.record.place,
                "kind": one.record.kind,
                "about": one.record.about,
                "offset": one.record.offset,
                "difference": one.difference._asdict() if one.difference else None,
            }
            for one in found.differing
        ],
        "absent": [
            {"kind": one.kind, "about": one.about, "offset": one.offset}
            for one in found.absent
        ],
        "partitions": [ran._asdict() for ran in outcome.ran],
        "missing": outcome.missing,
        "not_compared": outcome.unchecked,
        "set_apart": sorted(outcome.apart),
        "code_version": CODE_VERSION,
    }
