"""``hypercare inject``: regressions put into recorded history; which are found?"""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import click

from detector.backtest import by_service
from detector.backtest.injected import (
    Candidate,
    Trial,
    candidates_of,
    segment_text,
    tabulate,
    units_reached,
    why_not,
)
from detector.backtest.injection import Injection, What
from streams.cli.common import (
    Progress,
    json_option,
    lines_of,
    read_rules,
    read_text,
    write_text,
)
from streams.cli.exits import explained
from streams.cli.injectreport import Report, json_lines, page_of, text_lines
from streams.cli.times import LENGTH, epoch_ms_of, seconds_of
from streams.errors import Refused
from streams.injecting import Injecting, RulesText, Task, task_of
from streams.rulesdata import DEFAULT_RULES, default_rules_text

RATIOS = (1.25, 1.5, 2.0, 4.0, 10.0)
History = dict[str, list[bytes]]


class Plan(NamedTuple):
    """What is to be tried, and which releases are left out, with the reason."""

    tasks: list[Task]
    left_out: list[tuple[str, str]]


@click.command()
@click.argument("source", type=click.Path(path_type=Path, allow_dash=True), default="-")
@click.option(
    "--rules",
    "rules_files",
    type=click.Path(path_type=Path, dir_okay=False),
    multiple=True,
    help="Rule file; several are compared [default: the shipped rules].",
)
@click.option(
    "--ratio",
    "ratios",
    type=click.FloatRange(1, 1000),
    multiple=True,
    help="Factor on the rate of failures [default: 1.25, 1.5, 2, 4 and 10].",
)
@click.option(
    "--latency",
    "latencies",
    type=click.FloatRange(0.01, 1000),
    multiple=True,
    help="Factor on durations.",
)
@click.option(
    "--drop",
    "drops",
    type=click.FloatRange(0, 1),
    multiple=True,
    help="Share of the sessions, else requests, that is gone.",
)
@click.option(
    "--drop-actions",
    type=click.FloatRange(0, 1),
    multiple=True,
    help="Share of the requests that is gone while the sessions are there.",
)
@click.option(
    "--after",
    default="10m",
    show_default=True,
    help="When it begins: so long after the deploy, or a time with an offset.",
)
@click.option(
    "--release",
    "releases",
    multiple=True,
    metavar="[SERVICE/]RELEASE",
    help="Release to spoil [default: every one with enough traffic].",
)
@click.option(
    "--segment",
    "segments",
    multiple=True,
    metavar="ATTR=VALUE[,...]",
    help="Where it is; several are tried one after the other [default: everywhere].",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option(
    "--limit",
    type=click.IntRange(1),
    default=20,
    show_default=True,
    help="Releases to spoil at most; the first ones.",
)
@click.option(
    "--min-units",
    type=click.IntRange(1),
    default=1000,
    show_default=True,
    help="Sessions, else requests, that a release needs after the onset.",
)
@click.option(
    "--jobs", type=click.IntRange(1, 256), help="Processes [default: one a core]."
)
@click.option(
    "--html", type=click.Path(path_type=Path, dir_okay=False), help="Report to write."
)
@json_option
@explained
def inject(
    source: Path,
    rules_files: tuple[Path, ...],
    jobs: int | None,
    html: Path | None,
    as_json: bool,
    **wish: Any,
) -> None:
    """Put regressions into SOURCE, a recording or - for standard input.

    Says for each size, segment and rule file how many releases it would have been
    found in, how soon, and what was said without it (docs/injection.md).
    """
    wished = Wish(**wish)
    rules = _rules(rules_files)
    history = by_service(lines_of(source))
    plan = _plan(history, wished)
    running = Injecting(history, rules, jobs or os.cpu_count() or 1)
    with closing(running):
        services = list(dict.fromkeys(t.injection.service for t in plan.tasks))
        control = running.control(services)
        progress = Progress(f"of {len(plan.tasks)} regressions judged", every=1)
        trials: list[Trial] = []
        for found in running.trials(plan.tasks, control):
            trials += found
            progress.step()
        progress.done()
    report = Report(tabulate(trials), trials, plan.left_out, wished.seed, wished.after)
    if html is not None:
        write_text(html, page_of(report))
    click.echo("\n".join(json_lines(report) if as_json else text_lines(report)))


@dataclass(frozen=True)
class Wish:
    """What is to be tried, as the command line says it."""

    ratios: tuple[float, ...]
    latencies: tuple[float, ...]
    drops: tuple[float, ...]
    drop_actions: tuple[float, ...]
    after: str
    releases: tuple[str, ...]
    segments: tuple[str, ...]
    seed: int
    limit: int
    min_units: int

    @property
    def sizes(self) -> list[tuple[What, float]]:
        """Kinds and sizes; where nothing is named, the grid of ratios."""
        named: list[tuple[What, float]] = [
            *(("errors", size) for size in self.ratios),
            *(("latency", size) for size in self.latencies),
            *(("usage", size) for size in self.drops),
            *(("actions", size) for size in self.drop_actions),
        ]
        return named or [("errors", size) for size in RATIOS]

    def onset_ms(self, begin_ms: int) -> int:
        """When it begins in a release that was deployed then, in epoch ms."""
        if LENGTH.fullmatch(self.after):
            return begin_ms + seconds_of(self.after, "--after") * 1000
        return epoch_ms_of(self.after, "--after")

    def names(self, one: Candidate) -> bool:
        """Whether a release is asked for by name."""
        return bool({one.release, _name(one)} & set(self.releases))


def _rules(files: tuple[Path, ...]) -> list[RulesText]:
    if not files:
        return [RulesText(DEFAULT_RULES, default_rules_text())]
    if len(set(files)) < len(files):
        raise Refused("--rules: a file is named twice: name each once")
    for path in files:
        read_rules(path)  # What is wrong with it is said before the work begins.
    return [RulesText(str(path), read_text(path)) for path in files]


def _segment(text: str) -> tuple[tuple[str, str], ...]:
    pairs = [part.partition("=") for part in text.split(",")]
    if not all(key and equals and value for key, equals, value in pairs):
        raise Refused(f"--segment: {text!r} is not like os=android or os=ios,region=eu")
    return tuple((key, value) for key, _, value in pairs)


def _plan(history: History, wish: Wish) -> Plan:
    segments = [_segment(text) for text in wish.segments] or [()]
    candidates = [one for part in history.values() for one in candidates_of(part)]
    chosen, left_out = _chosen(candidates, wish)
    tasks: list[Task] = []
    spoilt = 0
    for one in chosen:
        if spoilt >= wish.limit:
            left_out.append((_name(one), f"beyond --limit {wish.limit}"))
            continue
        found = _tasks(history[one.service], one, segments, wish, left_out)
        spoilt += bool(found)
        tasks += found
    if not tasks:
        reasons = "; ".join(f"{name}: {why}" for name, why in left_out[:5])
        raise Refused(
            "no release of the history can be spoilt: "
            f"{reasons or 'it has none that came after another'}"
        )
    return Plan(tasks, left_out)


def _chosen(
    candidates: list[Candidate], wish: Wish
) -> tuple[list[Candidate], list[tuple[str, str]]]:
    if wish.releases:
        named = [one for one in candidates if wish.names(one)]
        known = {name for one in named for name in (one.release, _name(one))}
        if unknown := [name for name in wish.releases if name not in known]:
            there = ", ".join(_name(one) for one in candidates[:10])
            raise Refused(f"--release: {unknown[0]} is not in the history, {there} are")
        return named, []
    left_out = []
    chosen = []
    for one in candidates:
        if one.is_taken_back:
            left_out.append((_name(one), "was taken back"))
        elif not one.is_first:
            chosen.append(one)
    return chosen, left_out


def _tasks(
    lines: list[bytes],
    one: Candidate,
    segments: list[tuple[tuple[str, str], ...]],
    wish: Wish,
    left_out: list[tuple[str, str]],
) -> list[Task]:
    tasks = []
    onset_ms = wish.onset_ms(one.begin_ms)
    for segment in segments:
        base = Injection(
            service=one.service,
            environment=one.environment,
            release=one.release,
            onset_ms=onset_ms,
            what="errors",
            size=1.0,
            segment=segment,
            seed=wish.seed,
        )
        units = units_reached(lines, base)
        where = f" in {segment_text(segment)}" if segment else ""
        if units < wish.min_units:
            why = f"{units} units after the onset{where}, --min-units {wish.min_units}"
            left_out.append((_name(one), why))
            continue
        for what, size in wish.sizes:
            injection = replace(base, what=what, size=size)
            if why := why_not(lines, injection):
                left_out.append((_name(one), why))
                continue
            tasks.append(task_of(one, injection))
    return tasks


def _name(one: Candidate) -> str:
    return f"{one.service}/{one.release}"
