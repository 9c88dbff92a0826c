"""The comparison as Markdown: one row a detector, every figure with its interval."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import median

from bench.quality.scoring import (
    Estimate,
    Outcome,
    Share,
    net_of,
    summarise,
)

HEAD = (
    "detector",
    "power",
    "false: plain",
    "false: traps",
    "precision",
    "F1",
    "median min",
    "served bad",
    "net",
    "segment exact",
)

Outcomes = Mapping[str, Sequence[Outcome]]
"""Outcomes of each detector, by its name."""


def tables(outcomes: Outcomes, *, seed: int, resamples: int) -> Iterator[str]:
    """Lines of all tables: one for each suite, then net by family.

    Parameters
    ----------
    outcomes : mapping of str to sequence of Outcome
        The same cases for each detector.
    seed, resamples : int
        Of the bootstrap intervals.
    """
    first = next(iter(outcomes.values()))
    for suite in dict.fromkeys(o.truth.suite for o in first):
        chosen = _where(outcomes, _in_suite(suite))
        yield from _head(suite, next(iter(chosen.values())))
        for name, found in chosen.items():
            yield _line([name, *_cells(found, seed, resamples)])
        yield ""
        yield from _delays(chosen)
    yield from _families(outcomes)


def _delays(outcomes: Outcomes) -> Iterator[str]:
    """Delays on equal terms: over the decidable cases that two detectors both catch.

    A median over whatever each one catches favours the one that finds only what is
    large.
    """
    names = list(outcomes)
    ours = outcomes[names[0]]
    for name in names[1:]:
        both = [
            (a.delay_ms / 60_000, b.delay_ms / 60_000)
            for a, b in zip(ours, outcomes[name], strict=True)
            if a.truth.is_decidable
            and a.delay_ms is not None
            and b.delay_ms is not None
        ]
        if both:
            first, second = (median(column) for column in zip(*both, strict=True))
            yield (
                f"median minutes on the {len(both)} cases that both catch: "
                f"{names[0]} {_number(first, 1)}, {name} {_number(second, 1)}"
            )
    yield ""


def _head(suite: str, cases: Sequence[Outcome]) -> Iterator[str]:
    bad = [o for o in cases if o.truth.is_bad]
    decidable = sum(o.truth.is_decidable for o in bad)
    plain = sum(o.truth.kind == "plain" for o in cases)
    yield (
        f"{suite}: {len(bad)} bad releases ({decidable} decidable), "
        f"{plain} plain, {len(cases) - len(bad) - plain} traps"
    )
    yield ""
    yield _line(HEAD)
    yield _line(["---"] * len(HEAD))


def _cells(found: Sequence[Outcome], seed: int, resamples: int) -> list[str]:
    score = summarise(found, seed=seed, resamples=resamples)
    return [
        share(score.power),
        share(score.false_plain),
        share(score.false_trap),
        share(score.precision),
        estimate(score.f1),
        estimate(score.median_delay_min, digits=0),
        estimate(score.cost),
        estimate(score.net),
        share(score.exact),
    ]


def _families(outcomes: Outcomes) -> Iterator[str]:
    first = next(iter(outcomes.values()))
    keys = [_family(o) for o in first if o.truth.has_exposure]
    if not keys:
        return
    yield "net by family (cost 1, false 0 where a detector does nothing)"
    yield ""
    yield _line(["family", *outcomes])
    yield _line(["---"] * (len(outcomes) + 1))
    for key in sorted(set(keys)):
        chosen = _where(outcomes, _in_family(key))
        yield _line([" ".join(key), *(_net(found) for found in chosen.values())])


def _family(outcome: Outcome) -> tuple[str, str]:
    return outcome.truth.suite, outcome.truth.family


def _in_suite(suite: str) -> Callable[[Outcome], bool]:
    return lambda outcome: outcome.truth.suite == suite


def _in_family(key: tuple[str, str]) -> Callable[[Outcome], bool]:
    return lambda outcome: _family(outcome) == key


def _net(found: Sequence[Outcome]) -> str:
    bad = [o for o in found if o.truth.is_bad]
    fine = [o for o in found if not o.truth.is_bad]
    return _number(net_of(bad, fine), 2)


def _where(outcomes: Outcomes, is_meant: Callable[[Outcome], bool]) -> Outcomes:
    return {name: [o for o in found if is_meant(o)] for name, found in outcomes.items()}


def share(value: Share) -> str:
    """``.95 19/20 [.76, .99]``, a dash of nothing."""
    if value.value is None:
        return "-"
    low, high = value.interval
    return (
        f"{_number(value.value, 2)} {value.hits}/{value.total} "
        f"[{_number(low, 2)}, {_number(high, 2)}]"
    )


def estimate(value: Estimate, digits: int = 2) -> str:
    """``12 [8, 20]``, a dash where there is no value."""
    if value.value is None:
        return "-"
    shown = _number(value.value, digits)
    if value.low is None:
        return shown
    return f"{shown} [{_number(value.low, digits)}, {_number(value.high, digits)}]"


def _number(value: float | None, digits: int) -> str:
    if value is None:
        return "-"
    text = f"{value:.{digits}f}"
    return text.replace("0.", ".", 1) if text.lstrip("-").startswith("0.") else text


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
