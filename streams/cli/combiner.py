"""``hypercare combiner``: counts single events of hot services by window."""

from __future__ import annotations

import logging

import click
import faust

from streams.cli.common import settings
from streams.cli.exits import explained
from streams.cli.worker import LOG_FORMAT


@click.command()
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    envvar="HYPERCARE_LOG_LEVEL",
    default="info",
    show_default=True,
)
@explained
def combiner(log_level: str) -> None:
    """Count single events of hot services by window, until told to stop.

    For a service that one partition can not bear: its senders write single events to
    the topic `hot`, keyed by session, and as many combiners as needed send their
    aggregates into the log. Needs HYPERCARE_HOT_PARTITIONS. Exit codes: as `worker`.
    """
    from streams.combining import create_combiner

    logging.basicConfig(level=log_level.upper(), format=LOG_FORMAT)
    app = create_combiner(settings())
    faust.Worker(
        app, loglevel=log_level, quiet=True, redirect_stdouts=False
    ).execute_from_commandline()
