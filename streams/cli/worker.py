"""``hypercare worker``: one worker, the same as ``faust -A streams.app worker``."""

from __future__ import annotations

import click

from streams.cli.common import settings
from streams.cli.exits import explained
from streams.cli.service import begin_log, log_level_option, run


@click.command()
@log_level_option
@explained
def worker(log_level: str) -> None:
    """Watch releases until told to stop (SIGTERM, Ctrl-C); stops within 10 s.

    Exit codes: 0 stopped, 2 settings or rules are wrong, 30 Kafka does not answer,
    70 a record could not be handled, 75 another worker took over, 78 topics are
    wrong.
    """
    from streams.app import create_app

    begin_log(log_level)
    run(create_app(settings()), log_level)
