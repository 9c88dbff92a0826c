"""``hypercare topics create | check | acls``."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import click

from streams.cli.common import candidate_option, json_option, settings
from streams.cli.exits import Exit, explained
from streams.permissions import Role, permissions
from streams.settings import Settings
from streams.topics import check_or_explain, create_topics


@click.group()
def topics() -> None:
    """Create our topics, or compare them with what they should be."""


shadow_option = candidate_option("--shadow")


def _settings(shadow: str | None) -> Settings:
    return replace(settings(), shadow=shadow or "")


@topics.command()
@shadow_option
@json_option
@explained
def create(shadow: str | None, as_json: bool) -> None:
    """Create the topics that are missing; never changes one that is there.

    What a managed Kafka refuses to set is left out and named, unless counting
    stands on it.
    """
    made = create_topics(_settings(shadow))
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
@shadow_option
@json_option
@explained
def check(shadow: str | None, as_json: bool) -> None:
    """Name every missing topic, permission and wrong setting, with its fix.

    Permissions are those a worker needs, with --shadow those of a shadow. Exit
    code 3 when something that decides correctness differs.
    """
    role = Role.SHADOW if shadow else Role.WORKER
    found = check_or_explain(_settings(shadow), role)
    for one in found:
        click.echo(json.dumps(asdict(one)) if as_json else str(one))
    if not found and not as_json:
        click.echo("all topics are as they should be")
    raise SystemExit(Exit.FOUND if any(d.fatal for d in found) else Exit.DONE)


@topics.command()
@click.option("--role", type=click.Choice(list(Role)), default=Role.WORKER.value)
@click.option("--principal", help="Who gets it [default: the user of these settings].")
@shadow_option
@json_option
@explained
def acls(role: str, principal: str | None, shadow: str | None, as_json: bool) -> None:
    """Print the kafka-acls commands that give a role what it needs, and no more."""
    conf = _settings(shadow)
    who = principal or conf.connection.principal()
    for need in permissions(conf, Role(role)):
        row = asdict(need) | {"principal": who}
        click.echo(json.dumps(row) if as_json else need.command(conf, who))
