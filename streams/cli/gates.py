"""``hypercare gates serve | token``: the gates as a server."""

from __future__ import annotations

import asyncio
import logging
import signal

import click

from streams.cli.common import settings
from streams.cli.exits import explained
from streams.cli.gate import trusted
from streams.cli.service import begin_log, log_level_option
from streams.errors import Refused
from streams.gate.access import NAME, PATTERN, Scope, TokenFile, digest_of, new_token
from streams.gate.board import Board
from streams.gate.executions import Executions
from streams.gate.exposure import check_exposure
from streams.gate.flags import FlagDesk
from streams.gate.judging import Judge
from streams.gate.metrics import GateMetrics
from streams.gate.returning import returning
from streams.gate.server import Access, Gates
from streams.gate.stopping import stopped_here
from streams.gate.tls import Certificates
from streams.serving import ListenError
from streams.settings import Settings
from streams.wallclock import monotonic_s, now_ms

logger = logging.getLogger(__name__)


@click.group()
def gates() -> None:
    """Answer Argo Rollouts, Flagger and scripts over HTTP."""


@gates.command()
@click.argument("name")
@click.option("--scope", type=click.Choice([s.value for s in Scope]), default="read")
@click.option("--services", default="", help="Patterns with commas; default: all.")
@explained
def token(name: str, scope: str, services: str) -> None:
    """Make a token for NAME, and the line for the file of HYPERCARE_GATES_TOKENS.

    The token is shown once; the file holds its hash only.
    """
    if not NAME.fullmatch(name):
        raise Refused(f"{name!r}: 1 to 100 letters, digits, '.', '_', '@' or '-'")
    if services and not all(PATTERN.fullmatch(one) for one in services.split(",")):
        raise Refused(f"{services!r}: patterns like 'shop,pay-*', no blanks")
    made = new_token()
    click.echo(f"token: {made}", err=True)
    click.echo(f"{name} {scope} {digest_of(made).hex()} {services}".rstrip())


@gates.command()
@log_level_option
@explained
def serve(log_level: str) -> None:
    """Serve until told to stop (SIGTERM, Ctrl-C). Any number may run side by side.

    /v1/gate for Argo Rollouts, /flagger/HOOK for Flagger, /v1/claims, /v1/outcomes
    and /v1/orders for those who act; see docs/gate.md.
    """
    begin_log(log_level)
    asyncio.run(_serve(settings()))


def access_of(conf: Settings) -> Access:
    """Who may ask, as the settings say; refuses what would be open to others."""
    check_exposure(
        conf.gates_host,
        has_tokens=conf.gates_tokens is not None,
        has_tls=conf.gates_tls_cert is not None,
        is_plain_allowed=conf.gates_plain,
    )
    cert, key = conf.gates_tls_cert, conf.gates_tls_key
    if (cert is None) != (key is None) or (conf.gates_tls_clients and not cert):
        raise Refused(
            "HYPERCARE_GATES_TLS_CERT and HYPERCARE_GATES_TLS_KEY go together, and "
            "HYPERCARE_GATES_TLS_CLIENTS needs both"
        )
    return Access(
        tokens=TokenFile(conf.gates_tokens) if conf.gates_tokens else None,
        certificates=(
            Certificates(cert, key, conf.gates_tls_clients) if cert and key else None
        ),
        names=conf.web_names,
        rate_per_s=conf.gates_rate,
    )


async def _serve(conf: Settings) -> None:
    verifier = trusted(conf)
    access = access_of(conf)
    executions = await asyncio.to_thread(Executions, conf, monotonic_s=monotonic_s)
    board = Board(conf, now_ms=now_ms)
    judge = Judge(
        board,
        executions,
        verifier,
        now_ms=now_ms,
        stopped_here=lambda: stopped_here(conf),
        may_return=returning(conf.safe_to_return),
    )
    desk = FlagDesk(conf.flags_file, judge.ledger) if conf.flags_file else None
    server = Gates(
        judge,
        access,
        host=conf.gates_host,
        port=conf.gates_port,
        metrics=GateMetrics(judge, now_ms=now_ms),
        monotonic_s=monotonic_s,
        flags=desk,
    )
    ended = asyncio.Event()
    for one in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(one, ended.set)
    try:
        await server.start()
    except ListenError as error:
        raise Refused(str(error)) from error
    logger.info("gates.listening host=%s port=%d", conf.gates_host, server.port)
    board.start()
    try:
        await ended.wait()
    finally:
        await server.stop()
        await asyncio.to_thread(board.stop)
        await asyncio.to_thread(executions.close)
