"""``hypercare combiner``: counts single events of hot services by window."""

from __future__ import annotations

import click

from streams.cli.common import settings
from streams.cli.exits import explained
from streams.cli.service import begin_log, log_level_option, run


@click.command()
@log_level_option
@explained
def combiner(log_level: str) -> None:
    """Count single events of hot services by window, until told to stop.

    For a service that one partition can not bear: its senders write single events to
    the topic `hot`, keyed by session, and as many combiners as needed send their
    aggregates into the log. Needs HYPERCARE_HOT_PARTITIONS. Exit codes: as `worker`.
    """
    from streams.combining import create_combiner

    begin_log(log_level)
    run(create_combiner(settings()), log_level)
