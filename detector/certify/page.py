"""The certificate: what was run, what came out, and no more than that."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from statistics import median
from typing import NamedTuple

from scipy import stats

from detector.backtest import share
from detector.certify.chunks import BAD, BAD_MINUTES, SPLIT, Outcome

CONFIDENCE = 0.95


class Made(NamedTuple):
    """How the figures came about."""

    command: str
    commit: str
    seed: int
    rules: str
    rules_hash: str
    planned: int
    wall_s: float
    processes: int


def upper_limit(hits: int, runs: int) -> float:
    """Exact one-sided 95 % upper limit of a probability (Clopper and Pearson 1934).

    Examples
    --------
    >>> round(upper_limit(0, 100_000), 6)
    3e-05
    """
    if hits >= runs:
        return 1.0
    return float(stats.beta.ppf(CONFIDENCE, hits + 1, runs - hits))


def certificate(outcomes: Iterable[Outcome], made: Made) -> str:
    """The page in Markdown."""
    return "\n".join(_lines(list(outcomes), made)) + "\n"


def _lines(outcomes: list[Outcome], made: Made) -> Iterator[str]:
    calm = [o for o in outcomes if o.kind != BAD]
    bad = [o for o in outcomes if o.kind == BAD]
    runs, wrong = sum(o.size for o in calm), sum(o.taken_back for o in calm)
    yield "# Certificate of the rules"
    yield ""
    yield "Made by `hypercare certify`; do not edit. Every release went through the"
    yield "whole core: bytes of the log, decoding, windows, evidence, decision."
    yield ""
    yield f"**{wrong} of {runs:,} harmless releases were taken back.** With 95 %"
    yield f"confidence the rate is at most {percent(upper_limit(wrong, runs))} (exact),"
    if any(o.kind == SPLIT for o in calm):
        yield "for blocks of this history, drawn with replacement and split at random:"
        yield "blocks overlap, so a longer history tells more than more releases do."
    else:
        yield "over the circumstances below, as many of each as the table says."
    if runs < made.planned:
        yield f"The run was cut short: {made.planned:,} were planned."
    yield ""
    yield "| | |"
    yield "|---|---|"
    core_s = sum(o.took_s for o in outcomes)
    total = sum(o.size for o in outcomes)
    yield f"| rules | {made.rules}, hash `{made.rules_hash[:12]}` |"
    yield f"| command | `{made.command}` |"
    yield f"| commit | {_commits(outcomes) or made.commit} |"
    yield f"| seed | {made.seed} |"
    yield (
        f"| time | {core_s:,.0f} s of one core's time for {total:,} releases, "
        f"{total / max(core_s, 1e-9):.2f} a second; the last sitting took "
        f"{made.wall_s:,.0f} s with {made.processes} |"
    )
    yield ""
    yield "## Harmless releases"
    yield ""
    yield "| circumstances | releases | taken back | rate at most (95 %) | reasons |"
    yield "|---|---|---|---|---|"
    for family, own in _by_family(calm).items():
        size, hits = sum(o.size for o in own), sum(o.taken_back for o in own)
        told = Counter(reason for o in own for reason in o.reasons)
        words = ", ".join(f"{n} x {reason}" for reason, n in told.most_common(3))
        limit = percent(upper_limit(hits, size))
        yield f"| {family} | {size:,} | {hits} | {limit} | {words} |"
    if not bad:
        return
    yield ""
    yield "## Bad releases"
    yield ""
    yield f"One in a hundred sessions fails; watched for {BAD_MINUTES:g} minutes, two"
    yield "segments, windows of a minute. Minutes run from the deploy to the decision."
    yield ""
    yield "| sessions/min | share | ratio | found (95 % interval) | median minutes |"
    yield "|---|---|---|---|---|"
    for family, own in _by_family(bad).items():
        ratio, part, sessions = map(float, family.split("/"))
        size, hits = sum(o.size for o in own), sum(o.taken_back for o in own)
        found = share(hits, size)
        delays = sorted(m for o in own for m in o.minutes)
        delays += [float("inf")] * (size - hits)
        middle = median(delays)
        shown = f"{middle:.1f}" if middle < float("inf") else "-"
        yield (
            f"| {sessions:,.0f} | {part:.0%} | {ratio:g} | {hits} of {size} "
            f"({found.low:.2f} to {found.high:.2f}) | {shown} |"
        )


def _commits(outcomes: list[Outcome]) -> str:
    """The commits that ran, and how many releases each where there are several."""
    ran: Counter[str] = Counter()
    for one in outcomes:
        ran[one.commit] += one.size
    if len(ran) == 1:
        return next(iter(ran))
    return ", ".join(f"{commit or 'unknown'}: {size:,}" for commit, size in ran.items())


def percent(part: float) -> str:
    """A probability in percent, three digits."""
    return f"{100 * part:.3g} %"


def _by_family(outcomes: list[Outcome]) -> dict[str, list[Outcome]]:
    found: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        found[outcome.family].append(outcome)
    return found
