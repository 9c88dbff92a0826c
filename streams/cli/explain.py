"""``hypercare explain ID``: why a release was judged as it was."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from detector.rulefile import load_rules
from streams.cli.common import (
    Progress,
    audit_option,
    history_option,
    json_option,
    read_rules,
    rules_option,
    settings,
    write_text,
)
from streams.cli.exits import Exit, explained
from streams.errors import Refused
from streams.explain import Found, Sources, gather, sections_of, title_of
from streams.explain.plot import CAPTION, drawn_of, plot_of
from streams.report import Picture, render
from streams.report.lines import lines_of
from streams.reproducing import rules_at_hand
from streams.rulesdata import DEFAULT_RULES, default_rules_text


@click.command()
@click.argument("wanted", metavar="ID")
@audit_option
@history_option
@rules_option
@click.option("--no-log", is_flag=True, help="Ask the audit only: at once, few points.")
@click.option(
    "--html",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write a page with plots there.",
)
@json_option
@explained
def explain(
    wanted: str,
    audit: Path | None,
    histories: tuple[Path, ...],
    rules_file: Path | None,
    no_log: bool,
    html: Path | None,
    as_json: bool,
) -> None:
    """Say why ID was judged as it was, with the evidence over time.

    ID is a recommendation (rec_...) or service/environment/release[/component]. What
    was said comes from the audit; each window in between is made again from the log.
    With --history and without --audit no Kafka is needed: the recording is judged by
    --rules. Exit code 3 where what comes out is not what the audit says.
    """
    if no_log and histories:
        raise Refused("--no-log and --history exclude each other: leave one out")
    shipped = load_rules(default_rules_text(), source=DEFAULT_RULES)
    known = rules_at_hand(read_rules(rules_file), shipped)
    progress = Progress("records")
    sources = Sources(audit, histories, known, with_log=not no_log)
    found = gather(settings(), wanted, sources, progress.step)
    progress.done()
    if html is not None:
        write_text(html, _page(found, wanted))
        click.echo(f"wrote {html}", err=True)
    if as_json:
        click.echo(json.dumps(_as_dict(found)))
    else:
        _print(found)
    raise SystemExit(Exit.FOUND if found.differs else Exit.DONE)


def _print(found: Found) -> None:
    drawn = drawn_of(found)
    course = Picture("", CAPTION) if drawn else None
    for line in lines_of(title_of(found), sections_of(found, course), drawn):
        click.echo(line)


def _page(found: Found, wanted: str) -> str:
    course = plot_of(found) if found.points else None
    made_by = f"hypercare explain {wanted} --html FILE"
    return render(title_of(found), sections_of(found, course), made_by=made_by)


def _as_dict(found: Found) -> dict[str, Any]:
    story = found.story
    return {
        "about": story.about,
        "sentence": story.sentence,
        "onset_ms": story.onset_ms,
        "alpha": found.alpha,
        "level": found.level,
        "verdicts": _plain(story.verdicts),
        "revisions": _plain(story.revisions),
        "other_recommendations": story.others,
        "told": story.told,
        "executions": [
            {
                "holder": lease.holder,
                "action": lease.recommendation.action,
                "revision": lease.recommendation.revision,
                "granted_ms": lease.granted_ms,
                "state": lease.state,
                "ended_ms": lease.ended_ms or None,
                "detail": lease.detail,
            }
            for lease in found.leases
        ],
        "course": [point._asdict() for point in found.points],
        "made_again": found.again or None,
        "differs": found.differs,
        "notes": found.notes,
    }


def _plain(records: Sequence[Any]) -> list[Any]:
    return [msgspec.to_builtins(record) for record in records]
