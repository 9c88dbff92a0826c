"""``hypercare executions list | end``: what was claimed, and how it ended."""

from __future__ import annotations

import json
from contextlib import closing
from datetime import UTC, datetime

import click

from acting.known import Lease, LeaseState
from acting.records import End, Outcome
from streams.cli.common import json_option, settings
from streams.cli.exits import explained
from streams.errors import Refused
from streams.gate.executions import Executions
from streams.wallclock import monotonic_s, now_ms


def opened() -> Executions:
    """All claims up to now."""
    executions = Executions(settings(), monotonic_s=monotonic_s)
    executions.catch_up()
    return executions


@click.group()
def executions() -> None:
    """What was claimed, and how it ended."""


@executions.command("list")
@json_option
@explained
def list_(as_json: bool) -> None:
    """Print leases, newest first, orders, and components that are switched."""
    with closing(opened()) as found:
        known = found.ledger.known
    at_ms = now_ms()
    for lease in sorted(known.leases.values(), key=lambda one: -one.granted_ms):
        click.echo(json.dumps(_told(lease, at_ms)) if as_json else _line(lease, at_ms))
    orders = [known.stopped] if known.stopped else []
    orders += [*known.frozen.values(), *known.ping_pong.values()]
    orders += known.rejected.values()
    for order in orders:
        body = {
            "order": order.word,
            "service": order.service,
            "actor": order.actor,
            "why": order.why,
        }
        text = f"{order.word} {order.service} by {order.actor}: {order.why}"
        click.echo(json.dumps(body) if as_json else text)
    for place, done in sorted(known.switched.items()):
        told = {**place._asdict(), "switched": done.action, "target": done.target}
        to = f" to {done.target}" if done.target else ""
        text = f"{done.action} {'/'.join(place)}{to}, until it is restored"
        click.echo(json.dumps(told) if as_json else text)


@executions.command()
@click.argument("token")
@click.argument("how", type=click.Choice([end.value for end in End]))
@click.option("--detail", default="", help="For whoever looks later.")
@explained
def end(token: str, how: str, detail: str) -> None:
    """Report how the action of TOKEN ended; `released`: nothing was done."""
    with closing(opened()) as found:
        leases = found.ledger.known.leases.values()
        held = [one for one in leases if one.token == token]
        if not held:
            raise Refused(f"{token} holds no lease: `hypercare executions list`")
        if held[0].state is not LeaseState.HELD:
            raise Refused(f"{token} has ended before: {held[0].state}")
        found.append(Outcome(token, End(how), detail))
    click.echo(f"{held[0].recommendation.id} {held[0].recommendation.action}: {how}")


def _told(lease: Lease, at_ms: int) -> dict[str, object]:
    wanted = lease.recommendation
    return {
        "id": wanted.id,
        "action": wanted.action,
        "service": wanted.service,
        "environment": wanted.environment,
        "release": wanted.release,
        "component": wanted.component,
        "target": wanted.target,
        "holder": lease.holder,
        "token": lease.token,
        "state": lease.state,
        "is_over": not lease.is_held(at_ms),
        "granted_at": lease.granted_ms,
        "ended_at": lease.ended_ms or None,
        "detail": lease.detail,
    }


def _line(lease: Lease, at_ms: int) -> str:
    wanted = lease.recommendation
    when = datetime.fromtimestamp(lease.granted_ms / 1000, UTC)
    over = lease.state is LeaseState.HELD and not lease.is_held(at_ms)
    state = "never told its end" if over else lease.state.value
    what = f"{wanted.action} {wanted.service}/{wanted.environment}/{wanted.release}"
    to = f" to {wanted.target}" if wanted.target else ""
    return f"{when:%Y-%m-%d %H:%M:%SZ} {state:<9} {what}{to} by {lease.holder}"
