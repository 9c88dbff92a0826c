"""``hypercare drill``: does the whole way work, and does it stop where it must?"""

from __future__ import annotations

import json
import secrets
import shlex

import click

from streams.cli.common import json_option, settings
from streams.cli.exits import Exit, explained
from streams.cli.gate import trusted, who
from streams.errors import Refused
from streams.gate.drill import Clocks, DrillRun, Step
from streams.gate.stopping import stopped_here
from streams.settings import Settings
from streams.signing import Signer
from streams.wallclock import monotonic_s, now_ms


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.option("--actor", help="Who drills [default: user@host].")
@json_option
@explained
def drill(command: tuple[str, ...], actor: str | None, as_json: bool) -> None:
    """Send a signed recommendation with `test: true` through the topics.

    It is signed with HYPERCARE_SIGNING_KEYS, checked with HYPERCARE_PUBLIC_KEYS and
    claimed as every gate claims; each step is told with its time. COMMAND, given after
    ``--``, is what a gate would run here: it is shown and never run. Exit codes: 0 all
    went well and it stopped at the end, 3 a step did not, 30 Kafka does not answer.
    """
    conf = settings()
    run = DrillRun(
        conf,
        _signer(conf),
        trusted(conf),
        Clocks(now_ms, monotonic_s),
        actor=actor or who(),
        token=secrets.token_hex(16),
    )
    stopped = stopped_here(conf)
    if stopped is not None:
        raise Refused(f"{stopped.text}; a drill would only see that")
    is_fine = True
    for step in run.steps():
        is_fine = step.is_fine
        _tell(step, as_json)
    if is_fine:
        shown = shlex.join(command) if command else "nothing: no COMMAND was given"
        text = f"would have run, and did not: {shown}"
        _tell(Step("run", True, 0, text), as_json)
    raise SystemExit(Exit.DONE if is_fine else Exit.FOUND)


def _signer(conf: Settings) -> Signer:
    if not conf.signing_keys:
        raise Refused(
            "nothing signs here: run the drill where the workers' "
            "HYPERCARE_SIGNING_KEYS are"
        )
    return Signer.load(conf.signing_keys)


def _tell(step: Step, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(step._asdict()))
        return
    word = "ok    " if step.is_fine else "FAILED"
    click.echo(f"{word} {step.name:<10} {step.took_ms:>6} ms  {step.text}")
