"""``hypercare worker``: one worker, the same as ``faust -A streams.app worker``."""

from __future__ import annotations

import logging

import click
import faust

from streams.cli.common import settings
from streams.cli.exits import explained

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"


@click.command()
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    envvar="HYPERCARE_LOG_LEVEL",
    default="info",
    show_default=True,
)
@explained
def worker(log_level: str) -> None:
    """Watch releases until told to stop (SIGTERM, Ctrl-C); stops within 10 s.

    Exit codes: 0 stopped, 2 settings or rules are wrong, 30 Kafka does not answer,
    70 a record could not be handled, 75 another worker took over, 78 topics are
    wrong.
    """
    from streams.app import create_app

    logging.basicConfig(level=log_level.upper(), format=LOG_FORMAT)
    app = create_app(settings())
    faust.Worker(
        app, loglevel=log_level, quiet=True, redirect_stdouts=False
    ).execute_from_commandline()
