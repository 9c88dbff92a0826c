"""``hypercare act``: tells receivers of recommendations, and carries them out."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import secrets
import signal
from contextlib import suppress

import click

from streams.actuators.config import load
from streams.actuators.hooks import unknown_hooks
from streams.actuators.leases import Leases
from streams.actuators.pages import Pages
from streams.actuators.receiver import Receiver
from streams.actuators.service import Parts, Service
from streams.actuators.table import KINDS
from streams.cli.common import read_rules, read_text, settings
from streams.cli.exits import Exit, explained
from streams.cli.gate import trusted
from streams.cli.service import begin_log, log_level_option
from streams.errors import Refused
from streams.gate.board import Board
from streams.gate.executions import Executions
from streams.gate.returning import returning
from streams.gate.stopping import stopped_here
from streams.serving import ListenError
from streams.settings import Settings
from streams.wallclock import monotonic_s, now_ms

logger = logging.getLogger(__name__)


@click.command()
@click.option(
    "--check",
    is_flag=True,
    help="Check the file, every address and the rules' hooks; end.",
)
@click.option(
    "--enable",
    multiple=True,
    metavar="RECEIVER",
    help="Tell a receiver again that has answered 410.",
)
@log_level_option
@explained
def act(check: bool, enable: tuple[str, ...], log_level: str) -> None:
    """Tell receivers of recommendations and carry them out, until told to stop.

    HYPERCARE_ACTUATORS names the file of receivers, HYPERCARE_PUBLIC_KEYS those whose
    recommendations count. Several may run: one delivers, the others stand by. Exit
    codes: 0 ended or checked, 2 wrong file or settings, 3 a check found something.
    """
    begin_log(log_level)
    conf = settings()
    receivers = read_receivers(conf)
    unknown = set(enable) - {one.name for one in receivers}
    if unknown:
        raise Refused(f"no receiver {', '.join(sorted(unknown))} in {conf.actuators}")
    if check:
        raise SystemExit(asyncio.run(_check(receivers)) | _check_hooks(conf, receivers))
    asyncio.run(_serve(conf, receivers, enable))


def read_receivers(conf: Settings) -> list[Receiver]:
    """The file of receivers."""
    if conf.actuators is None:
        raise Refused("set HYPERCARE_ACTUATORS to a file of receivers")
    text, source = read_text(conf.actuators), str(conf.actuators)
    return load(text, source=source, environment=os.environ)


async def _check(receivers: list[Receiver]) -> int:
    """A line for each receiver: what would keep it from working."""
    found = 0
    for receiver in receivers:
        actuator = KINDS[receiver.kind].make(receiver)
        try:
            problems = await actuator.check()
        finally:
            actuator.close()
        found += len(problems)
        for line in problems or ["ok"]:
            click.echo(f"{receiver.name} ({receiver.kind}): {line}")
    return Exit.FOUND if found else Exit.DONE


def _check_hooks(conf: Settings, receivers: list[Receiver]) -> int:
    """A line for each hook of the rules that nobody has, where rules are named."""
    if conf.rules is None:
        return Exit.DONE
    names = [one.name for one in receivers]
    found = list(unknown_hooks(read_rules(conf.rules).rules, names))
    for line in found:
        click.echo(line)
    return Exit.FOUND if found else Exit.DONE


async def _serve(
    conf: Settings, receivers: list[Receiver], enable: tuple[str, ...]
) -> None:
    verifier = trusted(conf)
    leases, board = None, None
    if any(KINDS[one.kind].acts for one in receivers):
        board = Board(conf, now_ms=now_ms)
        executions = await asyncio.to_thread(Executions, conf, monotonic_s=monotonic_s)
        leases = Leases(
            board,
            executions,
            verifier,
            stopped=lambda: stopped_here(conf),
            may_return=returning(conf.safe_to_return),
            now_ms=now_ms,
        )
        board.start()
    parts = Parts(
        verifier=verifier,
        leases=leases,
        now_ms=now_ms,
        chance=random.SystemRandom().random,
        token=lambda: secrets.token_hex(16),
        rest=asyncio.sleep,
        enable=enable,
    )
    service = Service(conf, receivers, parts)
    pages = await _listening(conf, service)
    running = asyncio.create_task(service.run())
    for one in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(one, running.cancel)
    try:
        with suppress(asyncio.CancelledError):
            await running
    finally:
        await pages.stop()
        if board is not None:
            await asyncio.to_thread(board.stop)
        if leases is not None:
            await asyncio.to_thread(leases.close)


async def _listening(conf: Settings, service: Service) -> Pages:
    pages = Pages(service, host=conf.act_host, port=conf.act_port, names=conf.web_names)
    try:
        await pages.start()
    except ListenError as error:
        raise Refused(str(error)) from error
    logger.info("act.listening host=%s port=%d", conf.act_host, pages.port)
    return pages
