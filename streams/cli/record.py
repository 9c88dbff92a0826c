"""``hypercare record``: the log as a file that ``replay`` reads."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import click

from streams.auditlog import topic_records
from streams.cli.common import Progress, settings
from streams.cli.exits import explained
from streams.errors import Refused
from streams.logreader import exact_lines, topic_lines


@click.command()
@click.argument("target", type=click.Path(path_type=Path, allow_dash=True), default="-")
@click.option(
    "--exact",
    is_flag=True,
    help="Keep partition, offset and bytes of each record: for `replay --all`.",
)
@click.option("--audit", is_flag=True, help="Write the audit instead of the log.")
@explained
def record(target: Path, exact: bool, audit: bool) -> None:
    """Write the log as it is now to TARGET, a file or - for standard output.

    One line per record, in order of arrival, over all partitions; ticks and rule
    sets are spelt out per service, so that one replay stands for all partitions.
    With --exact nothing is spelt out: past decisions can be made again to the byte.
    With --audit: the records of the audit, for `explain` and `replay`.
    """
    if exact and audit:
        raise Refused("--exact is about the log: leave it out with --audit")
    with ExitStack() as stack:
        try:
            file: BinaryIO = sys.stdout.buffer
            if str(target) != "-":
                file = stack.enter_context(target.open("xb"))
        except OSError as error:
            raise Refused(
                f"{target}: {error}: name a file that does not exist"
            ) from error
        progress = Progress("lines")
        for line in _lines(exact=exact, audit=audit):
            file.write(line + b"\n")
            progress.step()
        file.flush()
        progress.done()


def _lines(*, exact: bool, audit: bool) -> Iterator[bytes]:
    if audit:
        return (placed.value for placed in topic_records(settings()))
    return exact_lines(settings()) if exact else topic_lines(settings())
