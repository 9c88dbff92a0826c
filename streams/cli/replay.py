"""``hypercare replay``: recorded input through the very core that runs live."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec

from detector.replay import Replay
from streams.cli.common import Progress, lines_of, read_rules, rules_option
from streams.cli.exits import Exit, explained


@click.command()
@click.argument("source", type=click.Path(path_type=Path, allow_dash=True), default="-")
@click.option("--topic", is_flag=True, help="Read the log from Kafka instead.")
@click.option(
    "--batch", type=click.IntRange(1, 100_000), default=1, help="Lines at a time."
)
@click.option("--json", "as_json", is_flag=True, help="JSON lines (always the case).")
@rules_option
@explained
def replay(
    source: Path, topic: bool, batch: int, as_json: bool, rules_file: Path | None
) -> None:
    """Print what would have been decided on SOURCE, a file or - for standard input.

    Each input line is one record of the log: an envelope or an array of them, in
    arrival order. Needs no Kafka unless --topic is given, and never looks ahead.
    Exit code 3 when records were refused; each is named on standard error.
    """
    run = Replay(read_rules(rules_file))
    progress = Progress("lines")
    lines = _topic_lines() if topic else lines_of(source)
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


def _counted(lines: Iterator[bytes], progress: Progress) -> Iterator[bytes]:
    for line in lines:
        progress.step()
        yield line


def _topic_lines() -> Iterator[bytes]:
    from streams.cli.common import settings
    from streams.logreader import topic_lines

    return topic_lines(settings())
