"""``hypercare shadow``: a candidate rule set beside the live one, without effect."""

from __future__ import annotations

from pathlib import Path

import click

from streams.cli.common import candidate_option, settings
from streams.cli.exits import explained
from streams.cli.service import begin_log, log_level_option, run

PORT = 9112


@click.command()
@click.option(
    "--rules",
    "rules_file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    required=True,
    help="Rule file of the candidate; read again when it changes.",
)
@candidate_option("--name", default="candidate")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=PORT,
    show_default=True,
    help="Of its metrics and health, at HYPERCARE_WEB_HOST.",
)
@log_level_option
@explained
def shadow(rules_file: Path, name: str, port: int, log_level: str) -> None:
    """Judge the live log by a candidate rule set, until told to stop.

    What it says goes to topics of its own and never to gates, receivers or alerts;
    make them with `hypercare topics create --shadow NAME`. `hypercare pilot` compares
    it with the live rules. Exit codes: as `worker`.
    """
    from streams.shadowing import create_shadow

    begin_log(log_level)
    run(create_shadow(settings(), name, rules_file, port), log_level)
