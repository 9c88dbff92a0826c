"""The envelope: every record that can change a decision, as typed structures.

One log holds all of them, keyed by service. A record is one JSON object or an
array of objects; ``kind`` says which structure an object is. Times are integer
epoch milliseconds, ``ts`` is the START of the covered time and ``window_s`` its
length (0 = one instant). Docs and the JSON schema are generated from here
(``detector.eventdocs``), so a field without a description fails a test.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._+/@:-]{0,127}$"
WINDOW_MAX_S = 3600
DEFAULT_ENVIRONMENT = "production"

Name = Annotated[str, Meta(pattern=NAME_PATTERN)]
EpochMs = Annotated[int, Meta(ge=0, le=32_503_680_000_000)]
Count = Annotated[int, Meta(ge=0, le=1_000_000_000_000)]
Text = Annotated[str, Meta(max_length=4096)]
Combiners = Annotated[int, Meta(ge=1, le=1024)]
Share = Annotated[float, Meta(ge=0.0, le=1.0)]

Outcome = Literal["ok", "client_error", "server_error", "timeout", "cancelled"]
Unit = Literal["request", "session", "user", "run", "record"]
Phase = Literal[
    "started", "progressed", "completed", "aborted", "rolled_back", "withdrawn"
]
Strategy = Literal["canary", "rolling", "bluegreen", "wave", "mobile", "ab", "flag"]
Change = Literal["code", "config", "flag", "schema", "model", "infra"]
CommandName = Literal["acknowledge", "withdraw", "label", "mode", "freeze", "ruleset"]


class Envelope(Struct, kw_only=True, omit_defaults=True, tag_field="kind"):
    """What every record carries, as far as its sender knows it."""

    ts: EpochMs
    service: Name
    window_s: Annotated[int, Meta(ge=0, le=WINDOW_MAX_S)] = 0
    id: Annotated[str, Meta(min_length=1, max_length=256)] | None = None
    environment: Name = DEFAULT_ENVIRONMENT
    sent_at: EpochMs | None = None
    received_at: EpochMs | None = None

    @property
    def end_ms(self) -> int:
        """End of the covered time, exclusive, in epoch milliseconds."""
        return self.ts + self.window_s * 1000


class ReleaseRecord(Envelope, kw_only=True, omit_defaults=True):
    """A record about one release: the common part of the telemetry kinds."""

    release: Name
    attrs: dict[str, Text] = {}
    component: Name | None = None
    component_version: Name | None = None
    changes: dict[str, Text] = {}
    user: Text | None = None
    session: Text | None = None
    trace_id: Text | None = None
    url: Text | None = None
    tenant: Text | None = None
    synthetic: bool = False
    sample_rate: Annotated[float, Meta(gt=0.0, le=1.0)] = 1.0
    sender: Text | None = None
    seq: Annotated[int, Meta(ge=0)] | None = None


class PreviousSession(Struct, kw_only=True, omit_defaults=True):
    """How the session before this launch ended: crashes with their denominator."""

    release: Name
    outcome: Literal["ok", "crashed", "abnormal", "unhandled"]
    started_ts: EpochMs


class Usage(ReleaseRecord, kw_only=True, omit_defaults=True, tag="usage"):
    """Units at risk, the failed ones too; single or aggregated."""

    unit: Unit = "request"
    outcome: Outcome = "ok"
    duration_ms: Annotated[float, Meta(ge=0)] | None = None
    step: Name | None = None
    count: Count | None = None
    sessions: Count | None = None
    outcomes: dict[Outcome, Count] | None = None
    users: Count | None = None
    users_sketch: str | None = None
    previous_session: PreviousSession | None = None


class Error(ReleaseRecord, kw_only=True, omit_defaults=True, tag="error"):
    """A failure with detail; single or aggregated per signature."""

    signature: Text | None = None
    type: Text | None = None
    message: Text | None = None
    frames: Annotated[list[Text], Meta(max_length=64)] = []
    severity: Literal["debug", "info", "warning", "error", "fatal"] = "error"
    handled: bool = False
    count: Count | None = None
    sessions: Count | None = None
    users: Count | None = None
    users_sketch: str | None = None


class ExponentialBuckets(Struct, kw_only=True, omit_defaults=True):
    """Buckets of an OpenTelemetry exponential histogram, one sign."""

    offset: int = 0
    counts: Annotated[list[Count], Meta(max_length=512)] = []


class ExponentialHistogram(Struct, kw_only=True, omit_defaults=True):
    """An OpenTelemetry exponential histogram of durations in milliseconds."""

    scale: Annotated[int, Meta(ge=-10, le=20)]
    zero_count: Count = 0
    positive: ExponentialBuckets = msgspec.field(default_factory=ExponentialBuckets)


class Latency(ReleaseRecord, kw_only=True, omit_defaults=True, tag="latency"):
    """A duration histogram: ``bounds_ms`` and ``counts``, or ``exponential``."""

    bounds_ms: Annotated[list[float], Meta(max_length=512)] = []
    counts: Annotated[list[Count], Meta(max_length=513)] = []
    exponential: ExponentialHistogram | None = None
    step: Name | None = None


class Feedback(ReleaseRecord, kw_only=True, omit_defaults=True, tag="feedback"):
    """What users say: single texts with a score, or counts of them."""

    channel: Text | None = None
    text: Annotated[str, Meta(max_length=16384)] | None = None
    score: Annotated[float, Meta(ge=1, le=5)] | None = None
    urgency: Literal["low", "normal", "high"] | None = None
    category: Text | None = None
    count: Count | None = None
    score_sum: Annotated[float, Meta(ge=0)] | None = None


class Deploy(Envelope, kw_only=True, omit_defaults=True, tag="deploy"):
    """A step in the life of a release: it started, ramped, ended, went back."""

    release: Name
    phase: Phase = "started"
    strategy: Strategy | None = None
    weight: Share | None = None
    scope: dict[str, Text] = {}
    predecessor: Name | None = None
    change: Change = "code"
    components: dict[str, Name] = {}
    component: Name | None = None
    component_version: Name | None = None
    depends_on: Annotated[list[Text], Meta(max_length=64)] = []
    fixes: Annotated[list[Text], Meta(max_length=64)] = []
    rollback: Literal["auto", "manual", "forbidden"] | None = None
    criticality: Literal["critical", "high", "medium", "low"] = "medium"
    owner: Text | None = None
    roster: Text | None = None
    artifact: Text | None = None
    actor: Text | None = None
    change_url: Text | None = None


class Command(Envelope, kw_only=True, omit_defaults=True, tag="command"):
    """What people and reloads do, in the log like everything else.

    ``acknowledge`` and ``withdraw`` answer a recommendation, ``label`` says that it was
    right, wrong or late (``value``); ``mode`` lets a service go no further than
    ``value`` (``rule``: as far as its rule says), ``freeze`` marks what is said of it
    (``value`` ``off``: no longer). All of them leave who, why and when in
    ``hypercare.audit``. ``ruleset`` puts a rule set in force (``rules_hash``,
    ``rules_text``); ``service`` is then the partition's broadcast name ``*`` spelt
    ``all``.
    """

    name: CommandName
    release: Name | None = None
    recommendation_id: Text | None = None
    actor: Text | None = None
    reason: Text | None = None
    value: Text | None = None
    rules_hash: Text | None = None
    rules_text: Annotated[str, Meta(max_length=1_048_576)] | None = None


class Tick(Envelope, kw_only=True, omit_defaults=True, tag="tick"):
    """The owner of a silent partition says what time it is.

    With a ``sender`` it speaks for one service and one of the combiners that share
    its events: everything of the service up to ``ts`` that came to it is in the log.
    ``senders`` is how many they are.
    """

    sender: Text | None = None
    senders: Combiners | None = None


Event = Usage | Error | Latency | Feedback | Deploy | Command | Tick
Telemetry = Usage | Error | Latency | Feedback

EVERY_SERVICE = "all"
"""Service name of a tick or a rule set command: it concerns the whole partition."""
