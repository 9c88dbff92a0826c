"""``hypercare gate``: may this job go on, must it act, or neither?"""

from __future__ import annotations

import json
import logging
import os
import secrets
import socket
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack

import click
from msgspec import to_builtins

from acting.answers import Answer, Ruling, Why
from acting.records import End, Outcome
from streams.cli.common import json_option, settings
from streams.cli.exits import explained
from streams.errors import Refused, Unreachable
from streams.gate.asking import Question, Reply, ask, may_act
from streams.gate.carrying import variables
from streams.gate.executions import Executions
from streams.gate.reading import Release, Topics, Unreadable
from streams.gate.returning import returning
from streams.gate.stopping import stopped_here
from streams.settings import Settings, SettingsError
from streams.signing import Verifier
from streams.wallclock import monotonic_s, now_ms

logger = logging.getLogger(__name__)

LEASE_S = 600
COMMAND_FAILED = 70


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("service")
@click.argument("release")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.option("--environment", default="production", show_default=True)
@click.option("--component", help="A component of the release.")
@click.option(
    "--on-unavailable",
    type=click.Choice(["continue", "halt"]),
    required=True,
    help="What the job does while nobody knows: go on (0) or halt (30).",
)
@click.option("--holder", help="Who asks, for others to read [default: user@host].")
@click.option(
    "--lease",
    "lease_s",
    type=click.IntRange(1, 86_400),
    default=LEASE_S,
    show_default=True,
    help="Seconds after which a person has to look, unless the end was told.",
)
@json_option
@explained
def gate(
    service: str,
    release: str,
    command: tuple[str, ...],
    environment: str,
    component: str | None,
    on_unavailable: str,
    holder: str | None,
    lease_s: int,
    as_json: bool,
) -> None:
    """Say whether to go on with RELEASE of SERVICE; carry out what is to be done.

    COMMAND, given after ``--``, runs only where the answer is 10, for one caller of
    all, with HYPERCARE_GATE_ACTION, HYPERCARE_GATE_TARGET and what else is known in its
    environment, and its end is reported. Without COMMAND the caller acts and reports
    with `hypercare executions end TOKEN`.

    Exit codes: 0 healthy, go on; 10 act; 11 already handled; 20 inconclusive or no
    data; 21 stale, blind, unreliable or not signed; 22 frozen or killed; 23 needs
    approval; 24 mode too low; 30 unreachable; 70 COMMAND failed; 2 wrong use.
    """
    conf = settings()
    token = secrets.token_hex(16)
    asked = Release(service, environment, release, component)
    question = Question(asked, holder or who(), token, lease_s)
    with ExitStack() as stack:
        opened = _Lazy(conf, stack)
        reply = _asked(conf, question, opened, stack)
        if reply.ruling.answer is Answer.UNREACHABLE and on_unavailable == "continue":
            reply = reply._replace(ruling=reply.ruling._replace(answer=Answer.GO_ON))
        _say(reply, token, as_json)
        if may_act(reply) and command:
            raise SystemExit(_carry_out(command, reply, token, opened()))
    raise SystemExit(reply.ruling.answer)


def _asked(
    conf: Settings, question: Question, opened: _Lazy, stack: ExitStack
) -> Reply:
    """The reply, also where nobody can give one."""
    verifier = trusted(conf)
    stopped = stopped_here(conf)
    if stopped is not None:
        return Reply(stopped)
    try:
        topics = Topics(conf, monotonic_s=monotonic_s)
        stack.callback(topics.close)
        may_return = returning(conf.safe_to_return)
        return ask(question, topics, verifier, opened, now_ms(), may_return)
    except Unreadable as error:
        return Reply(Ruling(Answer.STALE, Why.DAMAGED, str(error)))
    except Unreachable as error:
        return Reply(Ruling(Answer.UNREACHABLE, Why.UNREACHABLE, str(error)))
    except (Refused, SettingsError):
        raise
    except Exception as error:
        # A defect of ours is no answer either, and must not look like any other code.
        logger.exception("gate.failed")
        text = f"the gate itself failed: {error!r}"
        return Reply(Ruling(Answer.UNREACHABLE, Why.UNREACHABLE, text))


class _Lazy:
    """Opens the topic of claims when it is first needed."""

    def __init__(self, conf: Settings, stack: ExitStack) -> None:
        self._conf, self._stack = conf, stack
        self._found: Executions | None = None

    def __call__(self) -> Executions:
        if self._found is None:
            self._found = Executions(self._conf, monotonic_s=monotonic_s)
            self._stack.callback(self._found.close)
        return self._found


def trusted(conf: Settings) -> Verifier:
    """Those whose recommendations count; refuses to go on without any."""
    if not conf.public_keys:
        raise Refused(
            "no key is trusted: set HYPERCARE_PUBLIC_KEYS to the .pub files of the "
            "workers (`hypercare keys new` makes them)"
        )
    return Verifier.load(conf.public_keys)


def who() -> str:
    """Who runs this, for others to read."""
    user = os.environ.get("USER") or f"uid{os.getuid()}"
    return f"{user}@{socket.gethostname()}"


def _say(reply: Reply, token: str, as_json: bool) -> None:
    ruling, found = reply.ruling, reply.recommendation
    if as_json:
        said = {
            "answer": ruling.answer,
            "why": ruling.why,
            "text": ruling.text,
            "token": token if ruling.answer is Answer.ACT else None,
            "recommendation": to_builtins(found),
        }
        click.echo(json.dumps(said))
        return
    click.echo(f"{ruling.answer:d} {ruling.why}: {ruling.text}")
    if found is not None:
        click.echo(f"   {found.id} revision {found.revision}: {found.sentence}")
    if ruling.answer is Answer.ACT:
        click.echo(f"   token {token}")


def _carry_out(
    command: Sequence[str], reply: Reply, token: str, executions: Executions
) -> int:
    """Run the command and report its end; the lease is given back if it can not run."""
    assert reply.recommendation is not None
    known = variables(reply.recommendation, token)
    try:
        done = subprocess.run(command, env=os.environ | known, check=False)
    except OSError as error:
        executions.append(Outcome(token, End.RELEASED, f"could not run: {error}"))
        raise Refused(f"{command[0]}: {error.strerror}: nothing was done") from error
    if done.returncode == 0:
        executions.append(Outcome(token, End.EXECUTED))
        return Answer.ACT
    executions.append(Outcome(token, End.FAILED, f"exit code {done.returncode}"))
    click.echo(f"hypercare gate: the command ended with {done.returncode}", err=True)
    return COMMAND_FAILED
