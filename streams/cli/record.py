"""``hypercare record``: the log as a file that ``replay`` reads."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import click

from streams.cli.common import Progress, settings
from streams.cli.exits import explained
from streams.errors import Refused
from streams.logreader import topic_lines


@click.command()
@click.argument("target", type=click.Path(path_type=Path, allow_dash=True), default="-")
@explained
def record(target: Path) -> None:
    """Write the log as it is now to TARGET, a file or - for standard output.

    One line per record, in order of arrival, over all partitions; ticks and rule
    sets are spelt out per service, so that one replay stands for all partitions.
    """
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
        for line in topic_lines(settings()):
            file.write(line + b"\n")
            progress.step()
        file.flush()
        progress.done()
