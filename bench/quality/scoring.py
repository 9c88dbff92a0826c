"""How good are the decisions: truth, judgement of a case, and shares over cases.

The score that matters is ``net``: 1 less the share of affected sessions that were
served by the bad release before its rollback was recommended, less twice the share
of harmless releases that were rolled back. Doing nothing scores 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

Z_95 = 1.96
EXACT_OVERLAP = 0.999

Attrs = Mapping[str, str]


@dataclass(frozen=True)
class Truth:
    """What really happened in one case: one service around one release.

    Attributes
    ----------
    suite, family, kind : str
        ``kind`` is bad, plain (nothing happens) or trap (looks bad, is not).
    is_bad : bool
        The release should be rolled back, at or after ``onset_ms``.
    is_decidable : bool
        An informed test can find it; only such cases count for power and cost.
    has_exposure : bool
        Affected sessions are known, so the case has a cost.
    exposed_at_ms, exposed : tuple of float
        Affected sessions served so far (cumulative) at these times.
    segment : dict of str to tuple of str
        Where the harm is: values an attribute may have; empty for everywhere.
    cells, cell_traffic : tuple
        All combinations of attributes and their share of the traffic.
    """

    case: str
    service: str
    suite: str
    family: str
    kind: str
    release: str
    is_bad: bool
    is_decidable: bool
    has_exposure: bool
    onset_ms: int
    end_ms: int
    exposed_at_ms: tuple[float, ...] = ()
    exposed: tuple[float, ...] = ()
    segment: Mapping[str, tuple[str, ...]] | None = None
    cells: tuple[Attrs, ...] = ()
    cell_traffic: tuple[float, ...] = ()


@dataclass(frozen=True)
class Decision:
    """One recommendation to take a release back.

    ``decided_ms`` is the arrival time of the newest line that was known then.
    """

    service: str
    release: str
    decided_ms: int
    segment: Attrs | None = None


@dataclass(frozen=True)
class Outcome:
    """What the decisions of one detector came to in one case.

    Attributes
    ----------
    is_caught : bool
        The bad release was named between its onset and the end of the case.
    is_false : bool
        Something was rolled back that should not, or not yet.
    delay_ms : int or None
        From the onset to the decision.
    cost : float or None
        Share of the affected sessions served before it; None where unknown.
    is_exact : bool or None
        The segment covers just the affected cells; None unless caught there.
    """

    truth: Truth
    is_caught: bool
    is_false: bool
    delay_ms: int | None = None
    cost: float | None = None
    is_exact: bool | None = None


def judge(truth: Truth, decisions: Sequence[Decision]) -> Outcome:
    """What the first decision about each release of the case is worth."""
    first: dict[str, Decision] = {}
    for decision in sorted(decisions, key=lambda d: d.decided_ms):
        if decision.service == truth.service:
            first.setdefault(decision.release, decision)
    if not truth.is_bad:
        return Outcome(truth, is_caught=False, is_false=bool(first))
    hit = first.pop(truth.release, None)
    is_early = hit is not None and hit.decided_ms < truth.onset_ms
    is_false = bool(first) or is_early
    if hit is None or is_early or hit.decided_ms > truth.end_ms:
        lost = 1.0 if truth.has_exposure else None
        return Outcome(truth, is_caught=False, is_false=is_false, cost=lost)
    return Outcome(
        truth,
        is_caught=True,
        is_false=is_false,
        delay_ms=hit.decided_ms - truth.onset_ms,
        cost=_cost(truth, hit.decided_ms),
        is_exact=_is_exact(truth, hit.segment or {}),
    )


def _cost(truth: Truth, decided_ms: int) -> float | None:
    if not truth.has_exposure:
        return None
    served = np.interp(decided_ms, truth.exposed_at_ms, truth.exposed)
    return float(served) / max(1.0, truth.exposed[-1])


def _is_exact(truth: Truth, named: Attrs) -> bool | None:
    if not truth.segment or not truth.cells:
        return None
    guess = _cells(truth.cells, {name: (value,) for name, value in named.items()})
    right = _cells(truth.cells, truth.segment)
    weights = np.array(truth.cell_traffic)
    union = float(weights[guess | right].sum())
    return union > 0 and float(weights[guess & right].sum()) / union > EXACT_OVERLAP


def _cells(
    cells: Sequence[Attrs], segment: Mapping[str, tuple[str, ...]]
) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    return np.array(
        [
            all(str(cell.get(name)) in values for name, values in segment.items())
            for cell in cells
        ],
        dtype=bool,
    )


@dataclass(frozen=True)
class Share:
    """``hits`` of ``total``, with a 95 % Wilson score interval."""

    hits: int
    total: int

    @property
    def value(self) -> float | None:
        """The share, None of nothing."""
        return self.hits / self.total if self.total else None

    @property
    def interval(self) -> tuple[float, float]:
        """Limits after Wilson (1927); 0 to 1 of nothing."""
        n = self.total
        if not n:
            return 0.0, 1.0
        p, z = self.hits / n, Z_95
        middle = p + z * z / (2 * n)
        half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        scale = 1 + z * z / n
        return max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale)


@dataclass(frozen=True)
class Estimate:
    """A value with a 95 % bootstrap interval; all None where it has no meaning."""

    value: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Score:
    """Everything the table shows of one detector over a group of cases."""

    power: Share
    false_plain: Share
    false_trap: Share
    precision: Share
    f1: Estimate
    median_delay_min: Estimate
    cost: Estimate
    net: Estimate
    exact: Share


def summarise(outcomes: Sequence[Outcome], *, seed: int, resamples: int) -> Score:
    """Shares over the cases, and what resampling the cases says about the rest.

    Parameters
    ----------
    outcomes : sequence of Outcome
        One a case.
    seed, resamples : int
        Of the bootstrap. Bad and harmless cases are drawn apart, so that their
        numbers stay what they are.
    """
    bad = [o for o in outcomes if o.truth.is_bad]
    fine = [o for o in outcomes if not o.truth.is_bad]
    caught = sum(o.is_caught for o in bad)
    wrong = sum(o.is_false for o in outcomes)
    exact = [o.is_exact for o in bad if o.is_exact is not None]
    boot = _Bootstrap(bad, fine, np.random.default_rng(seed), resamples)
    return Score(
        power=power_of(bad),
        false_plain=_false([o for o in fine if o.truth.kind == "plain"]),
        false_trap=_false([o for o in fine if o.truth.kind != "plain"]),
        precision=Share(caught, caught + wrong),
        f1=boot.estimate(f1_of),
        median_delay_min=boot.estimate(median_delay_min),
        cost=boot.estimate(cost_of),
        net=boot.estimate(net_of),
        exact=Share(sum(exact), len(exact)),
    )


Measure = Callable[[Sequence[Outcome], Sequence[Outcome]], float | None]


@dataclass(frozen=True)
class _Bootstrap:
    bad: Sequence[Outcome]
    fine: Sequence[Outcome]
    rng: np.random.Generator
    resamples: int

    def estimate(self, measure: Measure) -> Estimate:
        """The measure and the middle 95 % of its values on resampled cases."""
        value = measure(self.bad, self.fine)
        if value is None:
            return Estimate(None)
        drawn = (
            measure(self._draw(self.bad), self._draw(self.fine))
            for _ in range(self.resamples)
        )
        known = [v for v in drawn if v is not None]
        if not known:
            return Estimate(value)
        low, high = np.percentile(known, [2.5, 97.5])
        return Estimate(value, float(low), float(high))

    def _draw(self, outcomes: Sequence[Outcome]) -> list[Outcome]:
        if not outcomes:
            return []
        chosen = self.rng.integers(0, len(outcomes), size=len(outcomes))
        return [outcomes[i] for i in chosen]


def power_of(bad: Sequence[Outcome]) -> Share:
    """Decidable bad releases that were caught."""
    decidable = [o for o in bad if o.truth.is_decidable]
    return Share(sum(o.is_caught for o in decidable), len(decidable))


def f1_of(bad: Sequence[Outcome], fine: Sequence[Outcome]) -> float | None:
    """Harmonic mean of precision and power."""
    caught = sum(o.is_caught for o in bad)
    named = caught + sum(o.is_false for o in (*bad, *fine))
    power = power_of(bad).value
    if power is None:
        return None
    precision = caught / max(1, named)
    total = precision + power
    return 2 * precision * power / total if total else 0.0


def median_delay_min(bad: Sequence[Outcome], _: Sequence[Outcome]) -> float | None:
    """Minutes from onset to decision, the middle one of the caught."""
    delays = [
        o.delay_ms / 60_000
        for o in bad
        if o.truth.is_decidable and o.delay_ms is not None
    ]
    return float(np.median(delays)) if delays else None


def cost_of(bad: Sequence[Outcome], _: Sequence[Outcome]) -> float | None:
    """Share of the affected sessions that were served bad, mean over cases."""
    costs = [o.cost for o in bad if o.truth.is_decidable and o.cost is not None]
    return float(np.mean(costs)) if costs else None


def net_of(bad: Sequence[Outcome], fine: Sequence[Outcome]) -> float | None:
    """The score that matters, None where no case has a cost."""
    cost = cost_of(bad, fine)
    if cost is None:
        return None
    return 1.0 - cost - 2.0 * (_false(fine).value or 0.0)


def _false(outcomes: Sequence[Outcome]) -> Share:
    return Share(sum(o.is_false for o in outcomes), len(outcomes))
