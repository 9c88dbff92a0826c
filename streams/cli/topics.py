"""``hypercare topics create | check | acls``."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from streams.cli.common import json_option, settings
from streams.cli.exits import Exit, explained
from streams.permissions import Role, permissions
from streams.topics import check_or_explain, create_topics


@click.group()
def topics() -> None:
    """Create our topics, or compare them with what they should be."""


@topics.command()
@json_option
@explained
def create(as_json: bool) -> None:
    """Create the topics that are missing; never changes one that is there.

    What a managed Kafka refuses to set is left out and named, unless counting
    stands on it.
    """
    made = create_topics(settings())
    if as_json:
        click.echo(json.dumps({"created": made.names, "refused": made.refused}))
        return
    for name in made.names:
        click.echo(f"created {name}")
    for setting in made.refused:
        words = "this Kafka refuses it, its own value stands (costs space or time only)"
        click.echo(f"warning: {setting}: {words}", err=True)
    if not made.names:
        click.echo("nothing to create: all topics are there")


@topics.command()
@json_option
@explained
def check(as_json: bool) -> None:
    """Name every missing topic, permission and wrong setting, with its fix.

    Permissions are those a worker needs. Exit code 3 when something that decides
    correctness differs.
    """
    found = check_or_explain(settings())
    for one in found:
        click.echo(json.dumps(asdict(one)) if as_json else str(one))
    if not found and not as_json:
        click.echo("all topics are as they should be")
    raise SystemExit(Exit.FOUND if any(d.fatal for d in found) else Exit.DONE)


@topics.command()
@click.option("--role", type=click.Choice(list(Role)), default=Role.WORKER.value)
@click.option("--principal", help="Who gets it [default: the user of these settings].")
@json_option
@explained
def acls(role: str, principal: str | None, as_json: bool) -> None:
    """Print the kafka-acls commands that give a role what it needs, and no more."""
    conf = settings()
    who = principal or conf.connection.principal()
    for need in permissions(conf, Role(role)):
        row = asdict(need) | {"principal": who}
        click.echo(json.dumps(row) if as_json else need.command(conf, who))
