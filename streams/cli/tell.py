"""``hypercare tell``, ``label`` and ``wrong``: what people say of what was decided."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from acting.records import Mode, Order, Word
from detector.events import Command, CommandName
from detector.people import LABELS, RULE
from detector.verdicts import RecommendationRecord
from streams.cli.common import settings
from streams.cli.exits import explained
from streams.cli.gate import who
from streams.errors import Refused
from streams.gate.telling import Telling
from streams.wallclock import monotonic_s, now_ms

Made = TypeVar("Made", bound=Callable[..., Any])
DECIDED = "The reason, for whoever reads it later."


def _said(command: Made) -> Made:
    """Options of everything that people say."""
    actor = click.option("--actor", help="Who says it [default: user@host].")
    why = click.option("--why", required=True, help=DECIDED)
    return actor(why(command))


def _placed(command: Made) -> Made:
    """Options of what is said about a service."""
    option = click.option("--environment", default="production", show_default=True)
    return option(_said(command))


@click.group()
def tell() -> None:
    """Tell workers and gates about a recommendation or a service, with who and why."""


@tell.command()
@click.argument("recommendation")
@_said
@explained
def acknowledge(recommendation: str, actor: str | None, why: str) -> None:
    """Say that somebody is on it; the recommendation stays until the harm is gone."""
    _about(recommendation, actor, why, [("acknowledge", None)], rejects=False)


@tell.command()
@click.argument("recommendation")
@_said
@explained
def withdraw(recommendation: str, actor: str | None, why: str) -> None:
    """Take a recommendation back: no gate grants it any more, its alert ends."""
    _about(recommendation, actor, why, [("withdraw", None)], rejects=True)


@tell.command()
@click.argument("service")
@_placed
@explained
def freeze(service: str, environment: str, actor: str | None, why: str) -> None:
    """Let nothing be executed for SERVICE; what is said of it is marked as frozen."""
    _of_service((service, environment), ("freeze", None), Word.FREEZE, actor, why)


@tell.command()
@click.argument("service")
@_placed
@explained
def thaw(service: str, environment: str, actor: str | None, why: str) -> None:
    """Take a freeze of SERVICE back."""
    _of_service((service, environment), ("freeze", "off"), Word.THAW, actor, why)


@tell.command()
@click.argument("service")
@click.argument("value", type=click.Choice([*(m.value for m in Mode), RULE]))
@_placed
@explained
def mode(
    service: str, value: str, environment: str, actor: str | None, why: str
) -> None:
    """Let machines go no further for SERVICE than VALUE; `rule`: as its rule says."""
    _of_service((service, environment), ("mode", value), Word.MODE, actor, why)


@click.command()
@click.argument("recommendation")
@click.argument("word", type=click.Choice(LABELS))
@_said
@explained
def label(recommendation: str, word: str, actor: str | None, why: str) -> None:
    """Say what a recommendation was, for the figures of its rule."""
    _about(recommendation, actor, why, [("label", word)], rejects=False)


@click.command()
@click.argument("recommendation")
@_said
@explained
def wrong(recommendation: str, actor: str | None, why: str) -> None:
    """Say that a recommendation was wrong: nobody executes it, its alert ends, and it
    counts against its rule."""
    words: list[tuple[CommandName, str | None]] = [
        ("withdraw", None),
        ("label", "wrong"),
    ]
    _about(recommendation, actor, why, words, rejects=True)


def _about(
    name: str,
    actor: str | None,
    why: str,
    words: Sequence[tuple[CommandName, str | None]],
    *,
    rejects: bool,
) -> None:
    """Tell about a recommendation; an unknown one is refused before anything else."""
    telling, speaker = _telling(), _speaker(actor, why)
    record = telling.recommendation(name).record
    orders = [_rejection(record, speaker, why)] if rejects else []
    commands = [
        Command(
            ts=now_ms(),
            service=record.service,
            environment=record.environment,
            name=word,
            release=record.release,
            recommendation_id=name,
            actor=speaker,
            reason=why,
            value=value,
        )
        for word, value in words
    ]
    _tell(telling, orders, commands)


def _of_service(
    place: tuple[str, str],
    said: tuple[CommandName, str | None],
    word: Word,
    actor: str | None,
    why: str,
) -> None:
    """Tell about a service; gates know services, not environments."""
    (service, environment), (name, value) = place, said
    telling, speaker = _telling(), _speaker(actor, why)
    telling.check_service(service, environment)
    order = Order(word, speaker, why, service, (value or "") if name == "mode" else "")
    command = Command(
        ts=now_ms(),
        service=service,
        environment=environment,
        name=name,
        actor=speaker,
        reason=why,
        value=value,
    )
    _tell(telling, [order], [command])


def _rejection(record: RecommendationRecord, actor: str, why: str) -> Order:
    return Order(Word.REJECT, actor, why, record.service, "", record.id)


def _telling() -> Telling:
    return Telling(settings(), monotonic_s=monotonic_s)


def _speaker(actor: str | None, why: str) -> str:
    if not why.strip():
        raise Refused("--why is empty: say it for whoever reads it later")
    return actor or who()


def _tell(
    telling: Telling, orders: Sequence[Order], commands: Sequence[Command]
) -> None:
    places = telling.tell(orders, commands)
    for order in orders:
        click.echo(f"{order.word}: holds for every gate from now on")
    for command, place in zip(commands, places, strict=True):
        what = (
            command.name if command.value is None else f"{command.name} {command.value}"
        )
        about = command.recommendation_id or command.service
        where = f"partition {place.partition}, offset {place.offset} of the log"
        click.echo(f"{what} {about}: {where}, who and why in the audit")
