"""``hypercare drill``: does the whole way work, and does it stop where it must?"""

from __future__ import annotations

import json
import secrets
import shlex
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path

import click

from streams.actuators.drillwatch import DrillWatch
from streams.actuators.parcel import event_of
from streams.cli.common import json_option, read_text, settings
from streams.cli.exits import Exit, explained
from streams.cli.gate import trusted, who
from streams.errors import Refused
from streams.gate.drill import Clocks, DrillRun, Step
from streams.gate.drillhttp import Door, through
from streams.gate.stopping import stopped_here
from streams.settings import Settings
from streams.signing import Signer
from streams.wallclock import monotonic_s, now_ms

ACT, HTTP = "act", "http"
"""Kinds of drills beside that over the topics."""

File = click.Path(path_type=Path, dir_okay=False)


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.option("--actor", help="Who drills [default: user@host].")
@click.option("--act", "is_act", is_flag=True, help="Also every receiver of `act`.")
@click.option(
    "--gates", multiple=True, metavar="URL", help="Also this server of gates."
)
@click.option("--gates-token", type=File, help="File with its token, of scope act.")
@click.option("--gates-ca", type=File, help="Authorities of its certificate.")
@click.option(
    "--wait",
    "wait_s",
    type=click.IntRange(1, 600),
    default=60,
    show_default=True,
    help="Seconds within which each way has to answer.",
)
@json_option
@explained
def drill(
    command: tuple[str, ...],
    actor: str | None,
    is_act: bool,
    gates: tuple[str, ...],
    gates_token: Path | None,
    gates_ca: Path | None,
    wait_s: int,
    as_json: bool,
) -> None:
    """Send a signed recommendation with `test: true` through the topics.

    It is signed with HYPERCARE_SIGNING_KEYS, checked with HYPERCARE_PUBLIC_KEYS and
    claimed as every gate claims; each step is told with its time. COMMAND, given after
    ``--``, is what a gate would run here: it is shown and never run. Exit codes: 0 all
    went well and it stopped at the end, 3 a step did not or a way did not answer, 30
    Kafka does not answer.
    """
    conf = settings()
    doors = _doors(gates, gates_token, gates_ca)
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
    for step in _steps(conf, run, is_act, doors, wait_s):
        is_fine = is_fine and step.is_fine
        _tell(step, as_json)
    if is_fine:
        shown = shlex.join(command) if command else "nothing: no COMMAND was given"
        text = f"would have run, and did not: {shown}"
        _tell(Step("run", True, 0, text), as_json)
    raise SystemExit(Exit.DONE if is_fine else Exit.FOUND)


def _steps(
    conf: Settings, run: DrillRun, is_act: bool, doors: list[Door], wait_s: int
) -> Iterator[Step]:
    """The way over the topics, then every other one, whatever the one before said."""
    if not is_act:
        went_well = yield from _first(run)
    else:
        # Before anything is written, so that no answer is missed.
        with closing(DrillWatch(conf, monotonic_s=monotonic_s)) as watch:
            went_well = yield from _first(run)
            if went_well:
                yield from _receivers(run, watch, wait_s)
    if went_well and doors:
        yield from _servers(run, doors, wait_s)


def _first(run: DrillRun) -> Generator[Step, None, bool]:
    is_fine = True
    for step in run.steps():
        is_fine = step.is_fine
        yield step
    return is_fine


def _receivers(run: DrillRun, watch: DrillWatch, wait_s: int) -> Iterator[Step]:
    """Each receiver of the `hypercare act` that delivers now."""
    found = []
    for heard in watch.heard(event_of(run.record), wait_s):
        found.append(Step(f"{ACT} {heard.receiver}", *heard[1:]))
        yield found[-1]
    if all(step.is_fine for step in found):
        yield run.noted(ACT, run.token, found)


def _servers(run: DrillRun, doors: list[Door], wait_s: int) -> Iterator[Step]:
    """Each server of gates, by a claim of its own."""
    found, token = [], ""
    for door in doors:
        token = secrets.token_hex(16)
        found.append(through(door, run.record, token, wait_s, monotonic_s))
        yield found[-1]
    if all(step.is_fine for step in found):
        # The claim stands in the log because the server wrote it there.
        yield run.noted(HTTP, token, found)


def _doors(urls: tuple[str, ...], file: Path | None, ca: Path | None) -> list[Door]:
    for url in urls:
        if not url.startswith(("http://", "https://")):
            raise Refused(
                f"--gates {url!r}: give http://HOST:PORT or https://HOST:PORT"
            )
    if urls and file is None:
        raise Refused(
            "--gates needs --gates-token FILE: `hypercare gates token NAME --scope act "
            "--services hypercare-drill` makes one"
        )
    token = read_text(file).strip() if file else ""
    if urls and (not token or not token.isascii() or len(token.split()) != 1):
        raise Refused(f"{file}: no token in it: one line, as it was shown")
    return [Door(url, token, ca) for url in urls]


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
    click.echo(f"{word} {step.name:<16} {step.took_ms:>6} ms  {step.text}")
