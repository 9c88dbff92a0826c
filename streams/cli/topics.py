"""``hypercare topics create | check``."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from streams.cli.common import json_option, settings
from streams.cli.exits import Exit, explained
from streams.topics import check_or_explain, create_missing


@click.group()
def topics() -> None:
    """Create our topics, or compare them with what they should be."""


@topics.command()
@json_option
@explained
def create(as_json: bool) -> None:
    """Create the topics that are missing; never changes one that is there."""
    created = create_missing(settings())
    if as_json:
        click.echo(json.dumps({"created": created}))
        return
    for name in created:
        click.echo(f"created {name}")
    if not created:
        click.echo("nothing to create: all topics are there")


@topics.command()
@json_option
@explained
def check(as_json: bool) -> None:
    """Name every missing topic and wrong setting, with its fix.

    Exit code 3 when something that decides correctness differs.
    """
    found = check_or_explain(settings())
    for one in found:
        click.echo(json.dumps(asdict(one)) if as_json else str(one))
    if not found and not as_json:
        click.echo("all topics are as they should be")
    raise SystemExit(Exit.FOUND if any(d.fatal for d in found) else Exit.DONE)
