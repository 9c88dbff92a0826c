"""``hypercare replay``: recorded input through the very core that runs live."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec

from detector.replay import Replay
from streams.auditlog import ID
from streams.cli.common import (
    Progress,
    audit_option,
    history_option,
    lines_of,
    read_rules,
    rules_option,
)
from streams.cli.exits import Exit, explained
from streams.cli.reproduce import Request, reproduce
from streams.errors import Refused
from streams.recording import plain_lines


@click.command()
@click.argument("source", type=click.Path(path_type=Path, allow_dash=True), default="-")
@click.option("--topic", is_flag=True, help="Read the log from Kafka instead.")
@click.option(
    "--batch", type=click.IntRange(1, 100_000), default=1, help="Lines at a time."
)
@click.option("--json", "as_json", is_flag=True, help="JSON lines (always the case).")
@rules_option
@click.option(
    "--id", "wanted", help="Make a past decision again: rec_... or a release."
)
@click.option("--all", "everything", is_flag=True, help="Make all of the audit again.")
@audit_option
@history_option
@click.option(
    "--other-version", is_flag=True, help="Compare what another version decided."
)
@explained
def replay(
    source: Path,
    topic: bool,
    batch: int,
    as_json: bool,
    rules_file: Path | None,
    wanted: str | None,
    everything: bool,
    audit: Path | None,
    histories: tuple[Path, ...],
    other_version: bool,
) -> None:
    """Print what would have been decided on SOURCE, a file or - for standard input.

    Each input line is one record of the log: an envelope or an array of them, in
    arrival order. Needs no Kafka unless --topic is given, and never looks ahead.
    Exit code 3 when records were refused; each is named on standard error.

    Where SOURCE is rec_..., or with --id (also service/environment/release) or --all,
    decisions of the past are made again from the log, or from --history, and compared
    with the audit byte by byte. Exit code 3 when they differ; 2 when the log or the
    rules no longer reach back.
    """
    if wanted is None and ID.fullmatch(str(source)):
        wanted = str(source)
    if wanted is not None or everything:
        _refuse_both(source, topic, wanted, everything)
        request = Request(wanted, audit, histories, rules_file, other_version, as_json)
        raise SystemExit(reproduce(request))
    if audit is not None or histories or other_version:
        raise Refused(
            "--audit, --history and --other-version go with an ID or --all: "
            "`hypercare replay --all`; a file alone is SOURCE"
        )
    run = Replay(read_rules(rules_file))
    progress = Progress("lines")
    lines = _topic_lines() if topic else plain_lines(lines_of(source))
    for shown in run.feed(_counted(lines, progress), batch):
        sys.stdout.buffer.write(shown + b"\n")
        sys.stdout.buffer.flush()
    progress.done()
    for refused in run.rejected[:20]:
        body = msgspec.json.decode(refused.value)
        click.echo(
            f"line {body['offset'] + 1}, member {body['index']}: {body['reason']} "
            f"at {body['field'] or '-'}: {body['detail']}",
            err=True,
        )
    if len(run.rejected) > 20:
        click.echo(f"... and {len(run.rejected) - 20} more", err=True)
    raise SystemExit(Exit.FOUND if run.rejected else Exit.DONE)


def _refuse_both(
    source: Path, topic: bool, wanted: str | None, everything: bool
) -> None:
    """Say so where more than one thing is to be replayed."""
    named = str(source) not in ("-", str(wanted))
    if topic or named or (wanted is not None and everything):
        raise Refused(
            "an ID, --all and a file or --topic exclude each other: give one of them, "
            "and recordings for the first two with --history"
        )


def _counted(lines: Iterator[bytes], progress: Progress) -> Iterator[bytes]:
    for line in lines:
        progress.step()
        yield line


def _topic_lines() -> Iterator[bytes]:
    from streams.cli.common import settings
    from streams.logreader import topic_lines

    return topic_lines(settings())
