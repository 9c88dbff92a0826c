"""What the traffic of a service looks like: how much, how bad, where, and when."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from math import fsum, prod

from detector.rulefile import Rule
from detector.series import Segment, Strata, initial_segments, initial_weights

HOURS = 24
FLAT = (1.0,) * HOURS


@dataclass(frozen=True)
class Part:
    """One stratum: its share of the sessions and the share of them that fail."""

    attrs: Segment
    share: float
    error_rate: float


@dataclass(frozen=True)
class Traffic:
    """A service as its releases meet it.

    Attributes
    ----------
    sessions_per_min : float
        Units at risk that start a minute, all releases together, averaged over a day.
    parts : tuple of Part
        Shares sum to 1.
    hours, error_hours : tuple of 24 floats
        Factor on the sessions and on the error rates in each hour of the day (UTC).
    errors_share : float
        Part of a release's evidence that errors may carry, 0..1.
    """

    sessions_per_min: float
    parts: tuple[Part, ...]
    hours: tuple[float, ...] = FLAT
    error_hours: tuple[float, ...] = FLAT
    errors_share: float = 1.0

    @property
    def error_rate(self) -> float:
        """Share of all sessions that fail."""
        return fsum(part.share * part.error_rate for part in self.parts)

    def series(self) -> tuple[list[list[int]], list[float]]:
        """The tested segments: places in ``parts`` of each, and their weights.

        Enumerated as for a release whose strata were all seen before it came.
        """
        strata = Strata()
        names = sorted({name for part in self.parts for name, _ in part.attrs})
        limits = tuple((name, len(self.parts)) for name in names)
        for part in self.parts:
            strata.number(dict(part.attrs), limits, "")
        segments = initial_segments(strata)
        places = [
            [i for i, p in enumerate(self.parts) if set(segment) <= set(p.attrs)]
            for segment in segments
        ]
        return places, initial_weights(segments)


def plain_traffic(
    sessions_per_min: float,
    error_rate: float,
    attrs: Mapping[str, Mapping[str, float]] | None = None,
    *,
    errors_share: float = 1.0,
) -> Traffic:
    """Traffic without a past: the same at all hours, fails alike everywhere.

    Parameters
    ----------
    attrs : mapping of str to mapping of str to float
        Shares of the values of each attribute, taken as independent; they are
        normalised.

    Examples
    --------
    >>> shop = plain_traffic(2000, 0.01, {"os": {"android": 3, "ios": 1}})
    >>> shop.parts[0]
    Part(attrs=(('os', 'android'),), share=0.75, error_rate=0.01)
    """
    columns = [
        [((name, value), share / sum(values.values())) for value, share in each]
        for name, values in (attrs or {}).items()
        for each in (list(values.items()),)
    ]
    parts = tuple(
        Part(tuple(pair for pair, _ in chosen), prod(s for _, s in chosen), error_rate)
        for chosen in product(*columns)
    )
    return Traffic(sessions_per_min, parts, errors_share=errors_share)


def errors_share(rule: Rule, signals: Iterable[str]) -> float:
    """Part of the evidence that errors may carry beside these signals."""
    own = rule.signals["errors"].weight
    others = {name for name in signals if name != "errors"}
    total = own + fsum(rule.signals[name].weight for name in others)
    return own / total if total else 0.0
