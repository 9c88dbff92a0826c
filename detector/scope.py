"""Everything remembered about one service in one environment.

A scope is the unit of state: it has its own watermark, windows, releases and
watches, it is written as one shard of a snapshot, and nothing in it depends on
another scope of the partition.
"""

from __future__ import annotations

from typing import NamedTuple

from msgspec import Struct, field

from detector.aftermath import Aftermath
from detector.catalogue import Catalogue, Novelty
from detector.changes import Changes
from detector.evidence.plansteps import PlanPast
from detector.facts import Episode
from detector.findings import Finding
from detector.history import History
from detector.latencystate import LatencyState
from detector.ledger import Ledger
from detector.maturity import Maturity
from detector.mix import Mix
from detector.parts import Parts
from detector.releases import Registry
from detector.series import SeriesSet, Strata
from detector.signals.errors import Hits
from detector.signals.telemetry import Health
from detector.verdicts import Action, ReasonCode, Verdict
from detector.windows import OpenWindow, SeenBad


class ScopeKey(NamedTuple):
    """Name of a scope."""

    service: str
    environment: str


class Told(NamedTuple):
    """Up to when a combiner has written everything, and when it said so."""

    until_ms: int
    arrival_ms: int


class Published(Struct, frozen=True, array_like=True):
    """What was last said about a release; a new record goes out when it changes."""

    verdict: Verdict
    reasons: tuple[ReasonCode, ...]
    action: Action


class Track(Struct, array_like=True):
    """One signal of one release beside its concurrent control.

    ``share`` is the part of the release's evidence that the signal may carry, fixed
    before its data.
    """

    signal: str
    margin: float
    share: float
    series: SeriesSet = field(default_factory=SeriesSet)
    history: History = field(default_factory=History)
    way: str = "session"
    control: tuple[int, ...] = ()
    units_candidate: float = 0.0
    bad_candidate: float = 0.0
    units_control: float = 0.0
    bad_control: float = 0.0
    joint_windows: int = 0
    hits: Hits = field(default_factory=Hits)


class Watch(Struct, array_like=True):
    """One release under judgement: its signals, findings and decision state.

    ``control_lost_ms`` is since when no concurrent control is left, -1 while there
    is one (``alone_since_ms``: not yet for long enough to say so); ``findings`` are
    those of the newest closed window. ``past_ms`` is the length of the past before
    that, ``has_past`` whether it is enough; ``unfixed`` names what the release was to
    fix and did not, ``exonerated`` says that its harm was seen without it, too.
    ``cohorts`` are the findings of the bin ``cohort_bin``.
    """

    release: str
    tracks: dict[str, Track] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    cohorts: list[Finding] = field(default_factory=list)
    cohort_bin: int = -1
    novelty: Novelty = field(default_factory=Novelty)
    control_lost_ms: int = -1
    alone_since_ms: int = -1
    alone_units: float = 0.0
    last_usage_ms: int = -1
    control_windows: int = 0
    errors_only_windows: int = 0
    errors_only_lines: int = 0
    mismatched_windows: int = 0
    slow: bool = False
    troubles: tuple[str, ...] = ()
    past_ms: int = -1
    has_past: bool = False
    unfixed: tuple[str, ...] = ()
    exonerated: bool = False
    mix: Mix = field(default_factory=Mix)
    episode: Episode | None = None
    published: Published | None = None
    parts: Parts = field(default_factory=Parts)

    @property
    def errors(self) -> Track:
        """The signal that every release has."""
        return self.tracks["errors"]

    def rows(self) -> list[int]:
        """Rows of all series of all signals, in order."""
        return [s.row for track in self.tracks.values() for s in track.series.series]


class Scope(Struct, array_like=True):
    """State of one service in one environment.

    ``mode`` and ``labels`` (by recommendation) are what people told.
    """

    service: str
    environment: str
    width_ms: int
    watermark_ms: int = -1
    closed_until_ms: int = -1
    first_ms: int = -1
    combined: dict[str, Told] = field(default_factory=dict)
    open: dict[int, OpenWindow] = field(default_factory=dict)
    seen_bad: SeenBad = field(default_factory=SeenBad)
    registry: Registry = field(default_factory=Registry)
    strata: Strata = field(default_factory=Strata)
    changes: Changes = field(default_factory=Changes)
    watches: dict[str, Watch] = field(default_factory=dict)
    aftermaths: dict[str, Aftermath] = field(default_factory=dict)
    ledger: Ledger = field(default_factory=Ledger)
    health: dict[int, Health] = field(default_factory=dict)
    holds_ms: dict[int, int] = field(default_factory=dict)
    plan_past: PlanPast = field(default_factory=PlanPast)
    actions_past: PlanPast = field(default_factory=PlanPast)
    sampled: bool = False
    catalogue: Catalogue = field(default_factory=Catalogue)
    latency: LatencyState = field(default_factory=LatencyState)
    steps: list[str] = field(default_factory=list)
    maturity: Maturity = field(default_factory=Maturity)
    named_slow: bool = False
    error_rates: dict[int, float] = field(default_factory=dict)
    usage_rates: dict[int, float] = field(default_factory=dict)
    last_event_ms: dict[str, int] = field(default_factory=dict)
    units_total: float = 0.0
    evicted: int = 0
    late: int = 0
    duplicates: int = 0
    future: int = 0
    frozen: bool = False
    mode: str | None = None
    labels: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def key(self) -> ScopeKey:
        """Name of this scope."""
        return ScopeKey(self.service, self.environment)
