"""``hypercare order``: what people say to everything that acts."""

from __future__ import annotations

from contextlib import closing

import click

from acting.records import APPROVALS_MAX, EVERY, Mode, Order, Word
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
@click.option("--action", type=click.Choice([a.value for a in Action]), default=None)
@click.option("--actor", help="Who says it [default: user@host].")
@click.option("--why", required=True, help="The reason, for whoever reads it later.")
@explained
def order(
    word: str,
    value: str,
    service: str,
    action: str | None,
    actor: str | None,
    why: str,
) -> None:
    """Tell all gates what people have decided; it holds at once and until taken back.

    stop, resume: the kill switch. freeze, thaw: with --service, or all. mode VALUE: the
    most that is done by machine, `rule` for what the rule says. approve ID --action A,
    reject ID: one recommendation. approvals N: how many people have to agree, `rule`
    for what the rule says. calm: a storm of rollbacks is over. restore COMPONENT
    --service S: its flag is as its owner wrote it again.
    """
    made = _order(Word(word), value, service, action, actor or who(), why)
    with closing(opened()) as executions:
        executions.append(made)
    click.echo(f"{word} {value or service}: holds for every gate from now on")


def _order(
    word: Word, value: str, service: str, action: str | None, actor: str, why: str
) -> Order:
    if word in FOR_RECOMMENDATIONS:
        if not value.startswith("rec_"):
            raise Refused(f"{word} needs the id of a recommendation (rec_...)")
        if word is Word.APPROVE and action is None:
            raise Refused("approve needs --action: what exactly is approved")
        return Order(word, actor, why, service, action or "", value)
    if word is Word.MODE and value not in (*Mode, "rule"):
        raise Refused(f"mode needs one of {', '.join(Mode)} or rule")
    if word is Word.RESTORE:
        if not value or service == EVERY:
            raise Refused("restore needs a component, and its service: --service")
        return Order(word, actor, why, service, value)
    numbers = [str(n) for n in range(1, APPROVALS_MAX + 1)]
    if word is Word.APPROVALS and value not in (*numbers, "rule"):
        raise Refused(f"approvals needs one of {', '.join(numbers)} or rule")
    if word not in (Word.MODE, Word.APPROVALS) and value:
        raise Refused(f"{word} takes no value; name a service with --service")
    return Order(word, actor, why, service, value)
