"""``hypercare certify``: how often would harmless releases be taken back?"""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import click
import msgspec

from detector.certify import Chunk, History, Made, Outcome, certificate, chunks, done
from detector.certify.chunks import BAD
from detector.certify.page import percent, upper_limit
from detector.rulefile import RuleSet
from detector.simulator import HARMLESS
from detector.version import CODE_VERSION
from streams.cli.common import json_option, lines_of, read_rules, rules_option
from streams.cli.exits import explained
from streams.errors import Refused
from streams.rulesdata import DEFAULT_RULES
from streams.wallclock import monotonic_s, process_s

WAIT_S = 60.0

_outcome = msgspec.json.Decoder(Outcome)


class Journal:
    """Finished chunks, a line each; the first line says of which run."""

    def __init__(self, path: Path, head: dict[str, Any]) -> None:
        self._path = path
        self.outcomes: dict[Chunk, Outcome] = {}
        if not path.exists():
            self._append(msgspec.json.encode(head))
            return
        first, *rest = path.read_bytes().split(b"\n")
        try:
            known = msgspec.json.decode(first)
        except msgspec.DecodeError:
            known = None
        if known != head:
            raise Refused(
                f"{path} is the journal of another run ({known}): this one is {head}; "
                "name another --journal, or remove it"
            )
        for line in rest:
            # The last line may have been cut off when the run was killed.
            with suppress(msgspec.DecodeError):
                outcome = _outcome.decode(line)
                self.outcomes[outcome.chunk] = outcome
        if rest and rest[-1]:
            self._append(b"")

    def add(self, outcome: Outcome) -> None:
        """Note a chunk: from now on it is not run again."""
        self.outcomes[outcome.chunk] = outcome
        self._append(msgspec.json.encode(outcome))

    def _append(self, line: bytes) -> None:
        with self._path.open("ab") as file:
            file.write(line + b"\n")


@click.command()
@click.option(
    "--releases",
    type=click.IntRange(1),
    default=100_000,
    show_default=True,
    help="Harmless releases in all.",
)
@click.option(
    "--bad-releases",
    type=click.IntRange(0),
    default=500,
    show_default=True,
    help="Bad releases of each effect, share and traffic.",
)
@click.option(
    "--history",
    type=click.Path(path_type=Path, allow_dash=True),
    help="Recorded lines: a release of them against itself, in place of simulations.",
)
@click.option("--service", help="Service of the history [default: the largest].")
@click.option(
    "--family",
    "families",
    multiple=True,
    type=click.Choice(list(HARMLESS)),
    help="Only these harmless circumstances; repeatable.",
)
@click.option(
    "--jobs", type=click.IntRange(1), default=os.cpu_count() or 1, help="Processes."
)
@click.option(
    "--minutes",
    type=click.FloatRange(min=0, min_open=True),
    help="Stop after so long; run again to go on.",
)
@click.option(
    "--journal",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("certify.jsonl"),
    show_default=True,
    help="Where finished parts are kept.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where the page goes [default: standard output].",
)
@click.option("--seed", type=click.IntRange(0), default=2026, show_default=True)
@rules_option
@json_option
@explained
def certify(
    releases: int,
    bad_releases: int,
    history: Path | None,
    service: str | None,
    families: tuple[str, ...],
    jobs: int,
    minutes: float | None,
    journal: Path,
    output: Path | None,
    seed: int,
    rules_file: Path | None,
    as_json: bool,
) -> None:
    """Run harmless and bad releases against the rules; write a certificate.

    Hours for the full number: what is done is kept in the journal, so that Ctrl-C or
    --minutes loses a part at most, and the same command goes on from there. The page
    states how many were run and bounds the rate by those alone.
    """
    rules, begun = read_rules(rules_file), monotonic_s()
    past = _history(history, service)
    head = {
        "rules": rules.hash,
        "seed": seed,
        "code": CODE_VERSION,
        "history": f"{past.service}/{past.release}: {len(past.lines)}" if past else "",
    }
    book = Journal(journal, head)
    planned = list(
        chunks(releases, bad_releases, families=families, split=past is not None)
    )
    due = _by_turns([c for c in planned if c not in book.outcomes])
    until = begun + 60 * minutes if minutes else float("inf")
    with suppress(KeyboardInterrupt):
        _run(due, book, rules, seed, past, jobs, until)
    kept = set(planned)
    outcomes = [book.outcomes[c] for c in planned if c in book.outcomes]
    calm = [o for o in outcomes if o.kind != BAD]
    if not calm:
        raise Refused("no harmless release was finished: give it more --minutes")
    made = Made(
        command="hypercare " + " ".join(_shown(sys.argv[1:])),
        commit=_commit(),
        seed=seed,
        rules=str(rules_file or DEFAULT_RULES),
        rules_hash=rules.hash,
        planned=releases,
        wall_s=monotonic_s() - begun,
        processes=jobs,
    )
    page = certificate(outcomes, made)
    if output is not None:
        output.write_text(page, encoding="utf-8")
    runs, wrong = sum(o.size for o in calm), sum(o.taken_back for o in calm)
    if as_json:
        click.echo(
            json.dumps(
                {
                    **made._asdict(),
                    "releases": runs,
                    "taken_back": wrong,
                    "rate_at_most": upper_limit(wrong, runs),
                    "unfinished": len(kept - book.outcomes.keys()),
                    "parts": [msgspec.to_builtins(o) for o in outcomes],
                }
            )
        )
    elif output is None:
        click.echo(page, nl=False)
    else:
        limit = percent(upper_limit(wrong, runs))
        click.echo(f"{output}: {wrong} of {runs:,} taken back, at most {limit} (95 %)")


def _run(
    due: Iterable[Chunk],
    book: Journal,
    rules: RuleSet,
    seed: int,
    past: History | None,
    jobs: int,
    until: float,
) -> None:
    """Do what is due until the time is up, each part noted as it is finished."""
    work = partial(_timed, rules=rules, seed=seed, history=past, commit=_commit())
    pending = list(due)
    total, finished = sum(c.size for c in pending), 0
    with multiprocessing.Pool(jobs) as pool:
        found = pool.imap_unordered(work, pending)
        while finished < total:
            try:
                outcome = found.next(max(0.0, min(until - monotonic_s(), WAIT_S)))
            except multiprocessing.TimeoutError:
                if monotonic_s() >= until:
                    break  # parts under way are lost, those noted are not
                continue
            book.add(outcome)
            finished += outcome.size
            if sys.stderr.isatty():
                click.echo(f"\r{finished:,} of {total:,} releases", err=True, nl=False)
        pool.terminate()
    if sys.stderr.isatty():
        click.echo("", err=True)


def _timed(
    chunk: Chunk, rules: RuleSet, seed: int, history: History | None, commit: str
) -> Outcome:
    begun = process_s()
    outcome = done(chunk, rules, seed, history)
    took_s = round(process_s() - begun, 3)
    return msgspec.structs.replace(outcome, took_s=took_s, commit=commit)


def _by_turns(due: list[Chunk]) -> list[Chunk]:
    """A bad part after two harmless ones, so that a short run has some of both."""
    bad = [c for c in due if c.kind == BAD]
    calm = [c for c in due if c.kind != BAD]
    found: list[Chunk] = []
    for place, chunk in enumerate(calm):
        found.append(chunk)
        if place % 2:
            found += bad[place // 2 : place // 2 + 1]
    return found + bad[len(calm) // 2 :]


def _history(source: Path | None, service: str | None) -> History | None:
    if source is None:
        return None
    try:
        return History.of(lines_of(source), service)
    except LookupError as error:
        raise Refused(f"{source}: {error.args[0]}") from error


def _commit() -> str:
    """Commit of this tree, or the version where there is none."""
    try:
        found = subprocess.run(
            ["git", "rev-parse", "--short=12", "HEAD"],
            capture_output=True,
            text=True,
            cwd=Path(__file__).parent,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return f"version {CODE_VERSION}"
    return found.stdout.strip()


def _shown(words: list[str]) -> list[str]:
    """The command without folders of this machine."""
    return [Path(w).name if w.startswith("/") else w for w in words]
