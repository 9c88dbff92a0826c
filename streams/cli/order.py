"""``hypercare order``: what people say to everything that acts."""

from __future__ import annotations

from contextlib import closing

import click
from msgspec import UNSET

from acting.orders import problem_of
from acting.records import EVERY, Order, Word
from detector.verdicts import Action
from streams.cli.executions import opened
from streams.cli.exits import explained
from streams.cli.gate import who
from streams.errors import Refused

FOR_RECOMMENDATIONS = (Word.APPROVE, Word.REJECT)


@click.command()
@click.argument("word", type=click.Choice([word.value for word in Word]))
@click.argument("value", default="")
@click.option("--service", default=EVERY, help="A service [default: every one].")
@click.option("--environment", help="Of a component: where [restore: everywhere].")
@click.option("--action", type=click.Choice([a.value for a in Action]), default=None)
@click.option("--actor", help="Who says it [default: user@host].")
@click.option("--why", required=True, help="The reason, for whoever reads it later.")
@explained
def order(
    word: str,
    value: str,
    service: str,
    environment: str | None,
    action: str | None,
    actor: str | None,
    why: str,
) -> None:
    """Tell all gates what people have decided; it holds at once and until taken back.

    stop, resume: the kill switch. freeze, thaw: with --service, or all. mode VALUE: the
    most that is done by machine, `rule` for what the rule says. approve ID --action A,
    reject ID: one recommendation. approvals N: how many people have to agree, `rule`
    for what the rule says. calm: a storm of rollbacks is over. withdraw COMPONENT
    --service S --environment E: its flag is off there. restore COMPONENT --service S:
    its flag is as its owner wrote it again, in every environment or that one.
    """
    where = service, environment
    made = _order(Word(word), value, where, action, actor or who(), why)
    with closing(opened()) as executions:
        executions.append(made)
    click.echo(f"{word} {value or service}: holds for every gate from now on")


def _order(
    word: Word,
    value: str,
    where: tuple[str, str | None],
    action: str | None,
    actor: str,
    why: str,
) -> Order:
    service, environment = where
    place = UNSET if environment is None else environment
    if word in FOR_RECOMMENDATIONS:
        if word is Word.APPROVE and action is None:
            raise Refused("approve needs --action: what exactly is approved")
        made = Order(word, actor, why, service, action or "", value, place)
    else:
        made = Order(word, actor, why, service, value, environment=place)
    problem = problem_of(made)
    if problem:
        raise Refused(f"{problem} (--service, --environment)")
    return made
