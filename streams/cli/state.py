"""``hypercare state show | reset | rebuild``."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict

import click

from streams.cli.common import json_option, settings
from streams.cli.exits import Exit, explained
from streams.errors import Refused
from streams.settings import Settings
from streams.stateadmin import Begin, Ordered, PartitionState, StateAdmin, open_admin
from streams.wallclock import now_ms

which_option = click.option(
    "--partition", "-p", "which", type=int, multiple=True, help="This partition."
)
all_option = click.option("--all", "every", is_flag=True, help="Every partition.")
yes_option = click.option("--yes", is_flag=True, help="Do it; without: only say what.")
force_option = click.option(
    "--force", is_flag=True, help="Even if workers are alive: the owners end (code 75)."
)


@click.group()
def state() -> None:
    """Show what is remembered of each partition, or let partitions begin anew."""


@state.command()
@json_option
@explained
def show(as_json: bool) -> None:
    """Show epoch, owner, offsets, size and age of each partition's state.

    Exit code 3 when a worker would refuse to start a partition.
    """
    found = asyncio.run(_survey(settings()))
    at_ms = now_ms()
    for one in found:
        click.echo(json.dumps(asdict(one)) if as_json else line_of(one, at_ms))
    raise SystemExit(Exit.FOUND if any(one.blind for one in found) else Exit.DONE)


@state.command()
@which_option
@all_option
@yes_option
@force_option
@json_option
@explained
def reset(
    which: tuple[int, ...], every: bool, yes: bool, force: bool, as_json: bool
) -> None:
    """Forget the state; the next start begins at the present END of the log.

    What the log holds now is not judged; deploys that stand in it are forgotten.
    """
    _begin_anew(which, every, Begin.END, yes=yes, force=force, as_json=as_json)


@state.command()
@which_option
@all_option
@yes_option
@force_option
@json_option
@explained
def rebuild(
    which: tuple[int, ...], every: bool, yes: bool, force: bool, as_json: bool
) -> None:
    """Forget the state; the next start reads the log again from its START.

    Recommendations come again under the same ids, as far as the log reaches back.
    """
    _begin_anew(which, every, Begin.START, yes=yes, force=force, as_json=as_json)


def line_of(one: PartitionState, at_ms: int) -> str:
    """Return one partition as a line for people."""
    head = f"partition {one.partition}: epoch {one.epoch}"
    owner = f"claimed by {one.owner}" if one.owner else "never claimed"
    log = f"log {one.log_start}..{one.log_end}"
    if one.next_offset is not None:
        age_s = max(0, at_ms - (one.written_ms or at_ms)) // 1000
        kept = (
            f"state at {one.next_offset}, {one.shards} shards, {one.bytes} bytes, "
            f"{age_s} s old"
        )
    elif one.ordered is not None:
        where = "the log's start" if one.ordered < 0 else f"offset {one.ordered}"
        kept = f"told to begin at {where}"
    else:
        kept = "no state"
    lines = [f"{head}, {owner}, {kept}, {log}"]
    if one.blind:
        lines.append(f"  blind: {one.blind}")
    return "\n".join(lines)


def _begin_anew(
    which: Sequence[int],
    every: bool,
    begin: Begin,
    *,
    yes: bool,
    force: bool,
    as_json: bool,
) -> None:
    if bool(which) == every:
        raise Refused("say which: --partition N (more than once if need be) or --all")
    conf = settings()
    ordered = asyncio.run(_order(conf, which, begin, yes=yes, force=force))
    for one in ordered:
        if as_json:
            click.echo(json.dumps(asdict(one)))
        else:
            where = "its start" if one.offset < 0 else f"offset {one.offset}"
            click.echo(f"partition {one.partition}: begins at {where} of the log")
    if not as_json:
        click.echo("start the workers: `hypercare worker`")


async def _survey(conf: Settings) -> list[PartitionState]:
    async with open_admin(conf) as admin:
        return await admin.survey()


async def _order(
    conf: Settings, which: Sequence[int], begin: Begin, *, yes: bool, force: bool
) -> list[Ordered]:
    async with open_admin(conf) as admin:
        partitions = list(which) or list(range(admin.partitions))
        if not force:
            await _require_no_member(admin, conf)
        if not yes:
            names = ", ".join(str(n) for n in partitions)
            raise Refused(
                f"this forgets what is known of partition {names} of "
                f"{conf.topic('events')} and begins at the log's {begin.value}; open "
                "recommendations are not withdrawn. If you mean it add --yes"
            )
        return await admin.begin_anew(partitions, begin)


async def _require_no_member(admin: StateAdmin, conf: Settings) -> None:
    group = await admin.group()
    if group.members:
        raise Refused(
            f"workers of group {conf.group} are alive: {len(group.members)} "
            f"({', '.join(group.members)}). Stop them first; one that was killed "
            f"leaves the group after {conf.session_timeout_s:g} s. With --force the "
            "owners of these partitions end with exit code 75 and must be started again"
        )
