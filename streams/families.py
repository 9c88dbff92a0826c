"""One snapshot of a worker as families of samples: a pure function of plain values.

Names, types and labels come from ``streams.metrictable``; what the state does not
hold gets no sample, and a family without samples is not rendered.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.metrics_core import Metric as Family

from detector.people import labels_of
from detector.releases import OTHER_RELEASE
from detector.verdicts import Verdict
from detector.version import CODE_VERSION
from detector.view import PartitionView, ReleaseView, ScopeView
from streams.metrictable import METRICS, PREFIX
from streams.progress import Counted, LaneProgress, LaneState

SHOWN_MAX = 10
"""Releases per service and environment that keep their own name in labels."""

SERVICES_MAX = 1_000
"""Services and environments per worker that keep their own name in labels without
having a release under judgement; those that have one always do."""

OTHER_SERVICE = "other"

RESULTS = ("counted", "late", "future", "duplicate", "ignored", "rejected")
"""What became of an event of the log, in the core's own words."""

OVERFLOWS = ("releases", "strata", "scopes")


@dataclass(frozen=True, slots=True)
class RulesStatus:
    """How many rules are valid, and whether the file as it is now is."""

    loaded: int
    successful: bool
    problem: str = ""


class Snapshot(NamedTuple):
    """Everything one page shows, taken at one moment."""

    views: tuple[PartitionView, ...] = ()
    lanes: tuple[LaneProgress, ...] = ()
    misrouted: int = 0
    ingress: tuple[tuple[Counted, int], ...] = ()
    refusing: tuple[str, ...] = ()
    rules: RulesStatus = RulesStatus(0, False)
    now_ms: int = 0


class Families:
    """Samples by metric and labels, one each; made into families at the end.

    The same service can stand in two partitions when a producer used another
    partitioner: a series given twice would spoil the page, so counters add up and
    of gauges the larger one stays.
    """

    def __init__(self) -> None:
        self._samples: dict[str, dict[tuple[str, ...], float]] = {}

    def put(self, name: str, labels: tuple[str, ...], value: float) -> None:
        """Add one sample; labels in the order of the table."""
        samples = self._samples.setdefault(name, {})
        before = samples.get(labels)
        if before is not None:
            adds = METRICS[name].kind == "counter"
            value = before + value if adds else max(before, value)
        samples[labels] = value

    def __iter__(self) -> Iterator[Family]:
        for name, samples in self._samples.items():
            yield family_of(name, samples)


def family_of(name: str, samples: Mapping[tuple[str, ...], float]) -> Family:
    """Give the family of a metric of the table with these samples."""
    metric = METRICS[name]
    full, labels = PREFIX + name, metric.labels
    if metric.kind == "info":
        info = InfoMetricFamily(full.removesuffix("_info"), metric.help, labels=labels)
        for values in samples:
            info.add_metric(values, {})
        return info
    made: CounterMetricFamily | GaugeMetricFamily
    if metric.kind == "counter":
        made = CounterMetricFamily(full, metric.help, labels=labels)
    else:
        made = GaugeMetricFamily(full, metric.help, labels=labels)
    for values, value in samples.items():
        made.add_metric(values, value)
    return made


def shown_releases(
    views: Iterable[ReleaseView], most: int = SHOWN_MAX
) -> tuple[list[ReleaseView], list[list[ReleaseView]]]:
    """Which releases keep their own name, and the groups that share ``other``.

    Per service and environment the ``most`` newest are shown by name; a release
    with a standing recommendation goes before all others, so that many deploys can
    not hide a harm. The rest is one group per service and environment.
    """
    scopes: dict[tuple[str, str], list[ReleaseView]] = {}
    for view in views:
        scopes.setdefault((view.service, view.environment), []).append(view)
    named: list[ReleaseView] = []
    rest: list[list[ReleaseView]] = []
    for members in scopes.values():
        members.sort(
            key=lambda v: (v.recommendation.is_open, v.started_ms, v.release),
            reverse=True,
        )
        own = [v for v in members if v.release != OTHER_RELEASE][:most]
        kept = {v.release for v in own}
        others = [v for v in members if v.release not in kept]
        named += own
        if others:
            rest.append(others)
    return named, rest


def shown_services(
    views: Iterable[PartitionView], most: int = SERVICES_MAX
) -> set[tuple[str, str]]:
    """Which services keep their own name: a flood of made-up ones must not.

    First those with a release under judgement, then those that ever had a deploy or
    send several streams, then the rest in the order of the state.
    """
    judged: set[tuple[str, str]] = set()
    others: list[ScopeView] = []
    for view in views:
        judged |= {(r.service, r.environment) for r in view.releases}
        others += view.scopes
    others.sort(key=lambda s: ("deploys" not in s.last_event_ms, -len(s.last_event_ms)))
    names = dict.fromkeys((s.service, s.environment) for s in others)
    return judged | set([one for one in names if one not in judged][:most])


def release_families(snapshot: Snapshot) -> Families:
    """Give what is known about the releases under judgement."""
    made = Families()
    views = _once(r for v in snapshot.views for r in v.releases)
    named, rest = shown_releases(views)
    for view in named:
        _put_release(made, view)
    for group in rest:
        _put_others(made, group)
    for back in (b for v in snapshot.views for b in v.rollbacks):
        place = (back.service, back.environment, back.release)
        labels = (*place, back.outcome, back.severity)
        made.put("release_rollback_outcome", labels, 1)
    delays = [
        (r.start_ms - r.onset_ms) / 1000
        for r in (v.recommendation for v in views)
        if r.is_open and r.start_ms is not None and r.onset_ms is not None
    ]
    if delays:
        made.put("detection_delay_seconds", (), max(delays))
    return made


def _once(views: Iterable[ReleaseView]) -> list[ReleaseView]:
    """One view per release: of two partitions the one that says more."""
    best: dict[tuple[str, str, str], ReleaseView] = {}
    for view in views:
        key = (view.service, view.environment, view.release)
        known = best.get(key)
        if known is None or _weight(known) < _weight(view):
            best[key] = view
    return list(best.values())


def _weight(view: ReleaseView) -> tuple[bool, float]:
    return view.recommendation.is_open, sum(s.units for s in view.signals)


def _put_release(made: Families, view: ReleaseView) -> None:
    one = (view.service, view.environment, view.release)
    put = made.put
    about = (view.baseline, view.strategy, view.owner, view.criticality)
    put("release_info", (*one, *about), 1)
    put("release_window_open", one, view.is_open)
    if view.evaluated_ms is not None:
        put("release_evaluated_timestamp_seconds", one, view.evaluated_ms / 1000)
        for verdict in Verdict:
            put("release_verdict", (*one, verdict.value), verdict is view.verdict)
        said = view.recommendation
        part = said.component or view.component or ""
        what = (part, said.action.value, said.mode, said.severity)
        put("recommendation_open", (*one, *what), said.is_open)
    for signal in view.signals:
        low, best, high = signal.rate_ratio
        place = (*one, signal.signal)
        put("release_rate_ratio", place, best)
        put("release_rate_ratio_lower", place, low)
        put("release_rate_ratio_upper", place, high)
        put("release_log_evidence", place, signal.log_e)
    _put_units(made, one, [view])
    _put_harm(made, one, view)
    if view.eta_s is not None:
        put("release_decision_eta_seconds", one, view.eta_s)


def _put_harm(made: Families, one: tuple[str, str, str], view: ReleaseView) -> None:
    """What an alert's text needs: only while a recommendation stands."""
    said, harm = view.recommendation, view.harm
    if not said.is_open or harm is None or view.evaluated_ms is None:
        return
    where = ", ".join(f"{a}={v}" for a, v in harm.segment.items()) or "everywhere"
    unit = view.signals[0].unit if view.signals else "unit"
    low, best, high = harm.rate_ratio
    put = made.put
    put("release_harm_info", (*one, said.id or "", where, unit), 1)
    put("release_harm_onset_timestamp_seconds", one, harm.onset_ms / 1000)
    put("release_harm_rate_ratio", one, best)
    put("release_harm_rate_ratio_lower", one, low)
    put("release_harm_rate_ratio_upper", one, high)
    put("release_harm_units", one, harm.units)
    put("release_harm_bad_units", one, harm.bad)


def _put_others(made: Families, group: list[ReleaseView]) -> None:
    """Sums only: a ratio or a verdict of several releases together has no meaning."""
    one = (group[0].service, group[0].environment, OTHER_RELEASE)
    made.put("release_info", (*one, "", "", "", ""), 1)
    made.put("release_window_open", one, sum(v.is_open for v in group))
    judged = [v for v in group if v.evaluated_ms is not None]
    for view in judged:
        said = view.recommendation
        key = (*one, "", said.action.value, said.mode, said.severity)
        made.put("recommendation_open", key, said.is_open)
    _put_units(made, one, group)


def _put_units(
    made: Families, one: tuple[str, str, str], group: list[ReleaseView]
) -> None:
    units: defaultdict[str, float] = defaultdict(float)
    bad: defaultdict[tuple[str, str], float] = defaultdict(float)
    for view in group:
        # Signals of a release share their units at risk: those count once.
        own = {s.unit: s.units for s in view.signals}
        for unit, count in own.items():
            units[unit] += count
        for s in view.signals:
            bad[s.unit, s.signal] += s.bad
    for unit, value in units.items():
        made.put("release_units_total", (*one, unit), value)
    for (unit, signal), value in bad.items():
        made.put("release_bad_units_total", (*one, unit, signal), value)
    made.put("release_excess_users_total", one, sum(v.excess_units for v in group))


def source_families(snapshot: Snapshot) -> Families:
    """Give what came in, how recent it is and what was not counted."""
    made = Families()
    named = shown_services(snapshot.views)
    for kind in OVERFLOWS:
        made.put("overflow_total", (kind,), 0)
    for view in snapshot.views:
        for kind, count in view.overflow.items():
            made.put("overflow_total", (kind,), count)
        for scope in view.scopes:
            where = (scope.service, scope.environment)
            is_shown = where in named
            service = scope.service if is_shown else OTHER_SERVICE
            made.put("late_records_total", (service,), scope.late)
            made.put("duplicate_records_total", (service,), scope.duplicates)
            for stream, last_ms in sorted(scope.last_event_ms.items()):
                if is_shown:
                    name = "source_last_event_timestamp_seconds"
                    made.put(name, (*where, stream), last_ms / 1000)
        if view.watermark_ms >= 0:
            place = (view.topic, str(view.partition))
            name = "stream_watermark_timestamp_seconds"
            made.put(name, place, view.watermark_ms / 1000)
    made.put("misrouted_records_total", (), snapshot.misrouted)
    _put_input(made, snapshot)
    _put_blind(made, snapshot)
    return made


def _put_input(made: Families, snapshot: Snapshot) -> None:
    for view in snapshot.views:
        for word, count in view.counts.items():
            result, _, reason = word.partition(".")
            if result in RESULTS:
                place = (view.topic, "envelope", result, reason)
                made.put("input_records_total", place, count)
    for key, count in snapshot.ingress:
        made.put("input_records_total", key, count)
    views = {v.partition: v for v in snapshot.views}
    for lane in snapshot.lanes:
        held = views.get(lane.partition)
        if held is None or lane.highwater is None:
            continue
        waits = lane.next_offset < lane.highwater and held.arrival_ms >= 0
        age_s = max(0, snapshot.now_ms - held.arrival_ms) / 1000 if waits else 0.0
        made.put("input_lag_seconds", (held.topic, str(lane.partition)), age_s)


def _put_blind(made: Families, snapshot: Snapshot) -> None:
    for view in snapshot.views:
        for release in view.releases:
            place = (release.service, release.environment, "telemetry")
            made.put("detector_blind", place, release.verdict is Verdict.UNRELIABLE)
    blind = any(lane.state is LaneState.BLIND for lane in snapshot.lanes)
    made.put("detector_blind", ("", "", "state"), blind)
    made.put("detector_blind", ("", "", "input"), bool(snapshot.refusing))


def has_unsaved(lane: LaneProgress) -> bool:
    """Whether something has been applied that no acknowledged snapshot holds."""
    return lane.saved is None or lane.next_offset > lane.saved


def self_families(snapshot: Snapshot) -> Families:
    """Give what the worker says about itself."""
    made = Families()
    made.put("build_info", (CODE_VERSION,), 1)
    made.put("rules_loaded", (), snapshot.rules.loaded)
    made.put("rules_last_reload_successful", (), snapshot.rules.successful)
    for lane in snapshot.lanes:
        place = (str(lane.partition),)
        if lane.snapshot_age_s is not None:
            age_s = lane.snapshot_age_s if has_unsaved(lane) else 0.0
            made.put("snapshot_age_seconds", place, age_s)
        made.put("snapshot_bytes", place, lane.snapshot_bytes)
    for view in snapshot.views:
        for label, rule, count in labels_of(view.counts):
            made.put("verdict_labels_total", (rule, label), count)
    return made
