"""Run a Faust application as a command: its log, its signals, its end."""

from __future__ import annotations

import logging

import click
import faust

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"

log_level_option = click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    envvar="HYPERCARE_LOG_LEVEL",
    default="info",
    show_default=True,
)


def begin_log(log_level: str) -> None:
    """Write the log to standard error, from the first import of an application on."""
    logging.basicConfig(level=log_level.upper(), format=LOG_FORMAT)


def run(app: faust.App, log_level: str) -> None:
    """Run an application until it is told to stop; does not return."""
    faust.Worker(
        app, loglevel=log_level, quiet=True, redirect_stdouts=False
    ).execute_from_commandline()
