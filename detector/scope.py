"""Everything remembered about one service in one environment.

A scope is the unit of state: it has its own watermark, windows, releases and
watches, it is written as one shard of a snapshot, and nothing in it depends on
another scope of the partition.
"""

from __future__ import annotations

from typing import NamedTuple

from msgspec import Struct, field

from detector.decide import Episode
from detector.history import History
from detector.releases import Registry
from detector.series import SeriesSet, Strata
from detector.verdicts import Action, ReasonCode, Verdict
from detector.windows import OpenWindow, SeenBad, Signature


class ScopeKey(NamedTuple):
    """Name of a scope."""

    service: str
    environment: str


class Published(Struct, frozen=True):
    """What was last said about a release; a new record goes out when it changes."""

    verdict: Verdict
    reasons: tuple[ReasonCode, ...]
    action: Action


class Watch(Struct):
    """One release under judgement: its series, history and decision state."""

    release: str
    margin: float
    series: SeriesSet = field(default_factory=SeriesSet)
    history: History = field(default_factory=History)
    way: str = "session"
    control: tuple[int, ...] = ()
    units_candidate: float = 0.0
    bad_candidate: float = 0.0
    units_control: float = 0.0
    bad_control: float = 0.0
    last_usage_ms: int = -1
    joint_windows: int = 0
    control_windows: int = 0
    errors_only_windows: int = 0
    errors_only_lines: int = 0
    mismatched_windows: int = 0
    episode: Episode | None = None
    published: Published | None = None
    signatures_before: dict[str, dict[int, float]] = field(default_factory=dict)


class Scope(Struct):
    """State of one service in one environment."""

    service: str
    environment: str
    width_ms: int
    watermark_ms: int = -1
    closed_until_ms: int = -1
    first_ms: int = -1
    open: dict[int, OpenWindow] = field(default_factory=dict)
    seen_bad: SeenBad = field(default_factory=SeenBad)
    registry: Registry = field(default_factory=Registry)
    strata: Strata = field(default_factory=Strata)
    watches: dict[str, Watch] = field(default_factory=dict)
    signatures: dict[str, Signature] = field(default_factory=dict)
    error_rates: dict[int, float] = field(default_factory=dict)
    last_event_ms: dict[str, int] = field(default_factory=dict)
    units_total: float = 0.0
    late: int = 0
    duplicates: int = 0
    future: int = 0
    frozen: bool = False

    @property
    def key(self) -> ScopeKey:
        """Name of this scope."""
        return ScopeKey(self.service, self.environment)
