"""The exposition says what the views say, in bounded and parsable form."""

from __future__ import annotations

import asyncio
import re
from math import inf
from pathlib import Path

import msgspec
import pytest
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from detector.harmview import HarmView
from detector.rollbackview import RollbackView
from detector.verdicts import Action, ReasonCode, RecommendationState, Verdict
from detector.version import CODE_VERSION
from detector.view import (
    PartitionView,
    RecommendationView,
    ReleaseView,
    ScopeView,
    SignalView,
)
from streams.families import SHOWN_MAX, shown_releases
from streams.metrics import Metrics, Readings, RulesStatus
from streams.metrictable import ACT, ACTING, METRICS, PREFIX, R
from streams.progress import Counted, Counters, LaneProgress, LaneState

DOCS = Path(__file__).parents[3] / "docs" / "metrics.md"
OPENMETRICS = "application/openmetrics-text; version=1.0.0"
HOSTILE = [
    'quote " backslash \\ brace } {',
    "line\nbreak\r\n",
    "nul\x00byte",
    "right \u202e to left",
    "<script>alert(1)</script>",
    '",service="shop"} 1\nhypercare_kill_switch_engaged 1\n',
    "\U0001f4a5 \u2028",
]


def release(name: str = "2.4.0", **changes: object) -> ReleaseView:
    """A judged release with an open recommendation."""
    view = ReleaseView(
        service="shop",
        environment="production",
        release=name,
        component=None,
        baseline="2.3.1",
        strategy="canary",
        owner="checkout",
        criticality="high",
        inferred=False,
        started_ms=1_000,
        is_open=True,
        evaluated_ms=90_500,
        verdict=Verdict.REGRESSED,
        reasons=(ReasonCode.ERROR_RATE_UP,),
        condition=None,
        action=Action.ROLLBACK,
        recommendation=RecommendationView(
            is_open=True,
            action=Action.ROLLBACK,
            mode="recommend",
            severity="page",
            id="rec_a",
            state=RecommendationState.OPEN,
            revision=1,
            start_ms=90_000,
            onset_ms=30_000,
        ),
        signals=(
            SignalView("errors", "session", 900.0, 60.0, 900.0, 9.0, (3, 6, inf), 12.5),
        ),
        excess_units=51.0,
        eta_s=0.0,
        harm=HarmView({"os": "android"}, 30_000, (3.5, 7, inf), 300.0, 55.0, 51.0),
    )
    return msgspec.structs.replace(view, **changes)


CLOSED = RecommendationView(False, Action.ROLLBACK, "recommend", "page")


def partition(*releases: ReleaseView, number: int = 0) -> PartitionView:
    """A partition with these releases under judgement."""
    return PartitionView(
        partition=number,
        topic="hypercare.events",
        next_offset=10,
        arrival_ms=95_000,
        watermark_ms=94_000,
        rules_hash="ab",
        rules_count=2,
        counts={
            "counted": 7,
            "late": 2,
            "rejected.syntax": 1,
            "windows_closed": 3,
            "label.wrong.all": 2,
        },
        overflow={"releases": 1, "strata": 0, "scopes": 0},
        scopes=(
            ScopeView(
                "shop", "production", 94_000, 70_000, {"usage": 93_000}, 2, 4, 0, False
            ),
        ),
        releases=releases,
    )


def lane(**changes: object) -> LaneProgress:
    """A ready partition that has everything applied and saved."""
    values: dict[str, object] = {
        "partition": 0,
        "state": LaneState.READY,
        "epoch": 1,
        "next_offset": 10,
        "highwater": 10,
        "saved": 10,
        "idle_s": 0.1,
        "snapshot_age_s": 500.0,
        "snapshot_bytes": 4096,
        "outputs_pending": 0,
        "reason": "",
    }
    return LaneProgress(**{**values, **changes})  # type: ignore[arg-type]


class World:
    """What the metrics look at; tests change it between looks."""

    def __init__(self, *views: PartitionView) -> None:
        self.views = list(views)
        self.lanes = [lane()]
        self.counters = Counters()
        self.rules = RulesStatus(2, True)
        self.looks = 0
        self.monotonic_s = 100.0
        self.metrics = Metrics(
            Readings(
                views=self._look,
                lanes=lambda: self.lanes,
                counters=self.counters,
                rules=lambda: self.rules,
                now_ms=lambda: 100_000,
                monotonic_s=lambda: self.monotonic_s,
            )
        )

    def _look(self) -> list[PartitionView]:
        self.looks += 1
        return self.views

    def text(self, accept: str = "") -> str:
        """The page as it is now."""
        self.monotonic_s += 10
        asyncio.run(self.metrics.snapshot())
        return self.metrics.render(accept)[0].decode()

    def samples(self) -> list[Sample]:
        """All samples of the page, by Prometheus' own grammar."""
        return [
            sample
            for family in text_string_to_metric_families(self.text())
            for sample in family.samples
        ]

    def value(self, name: str, **labels: str) -> float | None:
        """The one sample with these labels, None if there is none."""
        found = [
            s.value
            for s in self.samples()
            if s.name == PREFIX + name and labels.items() <= s.labels.items()
        ]
        assert len(found) <= 1, found
        return found[0] if found else None


def test_release_series_carry_the_view() -> None:
    """Every number of a release view has its series, in base units."""
    world = World(partition(release()))
    assert world.value("release_info", owner="checkout", baseline="2.3.1") == 1
    assert world.value("release_window_open", release="2.4.0") == 1
    assert world.value("release_evaluated_timestamp_seconds") == 90.5
    assert world.value("release_verdict", verdict="regressed") == 1
    assert world.value("release_verdict", verdict="healthy") == 0
    said = {"action": "rollback", "mode": "recommend", "severity": "page"}
    assert world.value("recommendation_open", component="", **said) == 1
    assert world.value("release_rate_ratio", signal="errors") == 6
    assert world.value("release_rate_ratio_lower") == 3
    assert world.value("release_rate_ratio_upper") == inf
    assert world.value("release_log_evidence") == 12.5
    assert world.value("release_units_total", unit="session") == 900
    assert world.value("release_bad_units_total", signal="errors") == 60
    assert world.value("release_excess_users_total") == 51
    assert world.value("release_decision_eta_seconds") == 0
    assert world.value("detection_delay_seconds") == 60


def test_open_harm_says_where_and_since() -> None:
    """Segment, id, onset and size of a harm are there while it is open, not after."""
    world = World(partition(release()))
    about = {"id": "rec_a", "segment": "os=android", "unit": "session"}
    assert world.value("release_harm_info", **about) == 1
    assert world.value("release_harm_onset_timestamp_seconds") == 30
    assert world.value("release_harm_rate_ratio") == 7
    assert world.value("release_harm_rate_ratio_lower") == 3.5
    assert world.value("release_harm_rate_ratio_upper") == inf
    assert world.value("release_harm_units") == 300
    assert world.value("release_harm_bad_units") == 55
    world.views = [partition(release(recommendation=CLOSED))]
    assert "release_harm" not in world.text()


def test_harm_without_segment_is_everywhere() -> None:
    """A harm that no segment explains carries a word, not an empty label."""
    everywhere = HarmView({}, 30_000, (3.5, 7, inf), 300.0, 55.0, 51.0)
    world = World(partition(release(harm=everywhere)))
    assert world.value("release_harm_info", segment="everywhere") == 1


def test_recommendation_is_zero_before_harm() -> None:
    """The series an alert looks at exists, at 0, from the first evaluation on."""
    world = World(partition(release(recommendation=CLOSED)))
    assert world.value("recommendation_open", action="rollback") == 0
    assert world.value("detection_delay_seconds") is None


def test_unjudged_release_claims_nothing() -> None:
    """Before the first evaluation there is neither a verdict nor a recommendation."""
    world = World(partition(release(evaluated_ms=None, verdict=None, eta_s=None)))
    assert world.value("release_window_open") == 1
    for name in ("recommendation_open", "release_decision_eta_seconds"):
        assert world.value(name) is None
    assert world.value("release_verdict", verdict="no_data") is None


def test_source_series_carry_the_view() -> None:
    """Inputs, lateness, repeats, overflow and watermarks have their series."""
    world = World(partition())
    world.counters.count_ingress(
        Counted("hypercare.usage", "native", "rejected", "syntax"), 3
    )
    world.counters.misrouted = 5
    assert world.value("source_last_event_timestamp_seconds", stream="usage") == 93
    log = {"topic": "hypercare.events", "codec": "envelope"}
    assert world.value("input_records_total", result="counted", **log) == 7
    assert world.value("input_records_total", reason="syntax", **log) == 1
    assert world.value("input_records_total", topic="hypercare.usage") == 3
    assert world.value("stream_watermark_timestamp_seconds", partition="0") == 94
    assert world.value("late_records_total", service="shop") == 2
    assert world.value("duplicate_records_total", service="shop") == 4
    assert world.value("misrouted_records_total") == 5
    assert world.value("overflow_total", kind="releases") == 1
    assert world.value("detector_blind", reason="state") == 0


def test_refused_input_is_blindness() -> None:
    """When most of the last thousand records of one topic were refused the worker
    says it is blind, and takes it back once most are accepted."""
    world = World(partition())
    good, bad = (
        Counted("hypercare.usage", "native", result, "")
        for result in ("accepted", "rejected")
    )
    world.counters.note_batch({Counted("hypercare.errors", *good[1:]): 5_000})
    world.counters.note_batch({good: 1_000})
    world.counters.note_batch({bad: 499, good: 1})
    assert world.value("detector_blind", reason="input") == 0
    world.counters.note_batch({bad: 502})
    assert world.counters.refusing == ("hypercare.usage",)
    assert world.value("detector_blind", reason="input") == 1
    world.counters.note_batch({good: 1_000})
    assert world.value("detector_blind", reason="input") == 0


def test_lag_is_the_age_of_waiting_records() -> None:
    """Nothing waits: 0. Records wait: the age of the last one applied."""
    world = World(partition())
    assert world.value("input_lag_seconds") == 0
    world.lanes = [lane(highwater=25)]
    assert world.value("input_lag_seconds") == 5


def test_self_series_carry_progress() -> None:
    """Version, rules, snapshots and timings have their series."""
    world = World()
    world.metrics.observe_tick(0.03)
    world.metrics.observe_stall(0.7)
    assert world.value("build_info", version=CODE_VERSION) == 1
    assert world.value("rules_loaded") == 2
    assert world.value("rules_last_reload_successful") == 1
    assert world.value("snapshot_bytes", partition="0") == 4096
    assert world.value("tick_duration_seconds_count") == 1
    assert world.value("loop_stall_seconds_sum") == 0.7


def test_saved_partition_has_no_old_snapshot() -> None:
    """A snapshot ages only while something is missing in it."""
    world = World(partition())
    assert world.value("snapshot_age_seconds") == 0
    world.lanes = [lane(next_offset=11)]
    assert world.value("snapshot_age_seconds") == 500


def test_blindness_names_its_reason() -> None:
    """A partition that can not start and broken telemetry are told apart."""
    world = World(partition(release(verdict=Verdict.UNRELIABLE)))
    world.lanes = [lane(state=LaneState.BLIND, reason="the log begins at offset 9")]
    assert world.value("detector_blind", reason="state") == 1
    assert world.value("detector_blind", reason="telemetry", service="shop") == 1


def test_retired_and_revoked_series_vanish() -> None:
    """What left the state leaves the page, with every label it had."""
    world = World(partition(release()), partition(number=1))
    assert "2.4.0" in world.text()
    world.views = [partition(number=1)]
    world.lanes = [lane(partition=1)]
    text = world.text()
    assert "2.4.0" not in text
    assert 'partition="0"' not in text


@pytest.mark.parametrize("word", HOSTILE)
def test_hostile_labels_stay_labels(word: str) -> None:
    """Any text comes back as it was, in both formats, and adds no series."""
    world = World(partition(release(word, owner=word, baseline=word)))
    (info,) = [s for s in world.samples() if s.name == "hypercare_release_info"]
    assert (info.labels["release"], info.labels["owner"]) == (word, word)
    count = len(World(partition(release())).samples())
    assert len(world.samples()) == count
    families = openmetrics.text_string_to_metric_families(world.text(OPENMETRICS))
    found = {s.labels.get("owner") for f in families for s in f.samples}
    assert word in found


def test_thousand_releases_are_bounded() -> None:
    """A thousand releases give ten named ones and ``other``, and lose no unit."""
    views = [
        release(f"1.{n}", started_ms=n, recommendation=CLOSED) for n in range(1000)
    ]
    world = World(partition(*views))
    samples = world.samples()
    names = {s.labels["release"] for s in samples if "release" in s.labels}
    newest = {f"1.{n}" for n in range(1000 - SHOWN_MAX, 1000)}
    assert names == newest | {"other"}
    units = [s.value for s in samples if s.name == "hypercare_release_units_total"]
    assert sum(units) == 900 * 1000
    assert len(samples) < 400


def test_harm_is_never_among_the_rest() -> None:
    """An old release with an open recommendation keeps its name."""
    quiet = [release(f"1.{n}", recommendation=CLOSED, started_ms=n) for n in range(50)]
    named, rest = shown_releases([release("0.1", started_ms=0), *quiet])
    assert named[0].release == "0.1"
    assert len(named) == SHOWN_MAX
    assert sum(len(group) for group in rest) == 51 - SHOWN_MAX


def test_rest_still_alerts() -> None:
    """More harmed releases than names: the rest shows that one is open."""
    world = World(partition(*(release(f"1.{n}", started_ms=n) for n in range(11))))
    assert world.value("recommendation_open", release="other") == 1


def test_release_called_other_is_merged() -> None:
    """A release that is itself called ``other`` gives no series twice."""
    views = [release("other"), *(release(f"1.{n}") for n in range(15))]
    world = World(partition(*views))
    keys = [(s.name, *sorted(s.labels.items())) for s in world.samples()]
    assert len(keys) == len(set(keys))


def test_misrouted_service_gives_no_series_twice() -> None:
    """A service in two partitions adds its counts up and shows the greater release."""
    small = release(recommendation=CLOSED, owner="stale", excess_units=0.0)
    world = World(partition(release()), partition(small, number=1))
    world.lanes.append(lane(partition=1))
    keys = [(s.name, *sorted(s.labels.items())) for s in world.samples()]
    assert len(keys) == len(set(keys))
    assert world.value("late_records_total", service="shop") == 4
    assert world.value("recommendation_open", release="2.4.0") == 1
    assert world.value("release_info", owner="stale") is None


def test_views_are_taken_once_a_second() -> None:
    """Scrapers that hurry share one look at the state."""
    world = World(partition())
    for _ in range(5):
        asyncio.run(world.metrics.snapshot())
    assert world.looks == 1
    world.monotonic_s += 1.0
    asyncio.run(world.metrics.snapshot())
    assert world.looks == 2


def test_page_is_rendered_once_per_look() -> None:
    """Who asks again for the same page gets it without work."""
    world = World(partition(release()))
    asyncio.run(world.metrics.snapshot())
    first, second = (world.metrics.render()[0] for _ in range(2))
    assert first is second
    assert world.metrics.render(OPENMETRICS)[0] != first


def test_samples_keep_to_the_table() -> None:
    """Every sample has a listed name, type and exactly the listed labels."""
    back = RollbackView("shop", "production", "2.3.9", "did_not_help", "page")
    first = msgspec.structs.replace(partition(release()), rollbacks=(back,))
    world = World(first, partition(release("3.0"), number=1))
    seen = set()
    for family in text_string_to_metric_families(world.text()):
        for sample in family.samples:
            name = re.sub("_(bucket|count|sum|created)$", "", sample.name)
            metric = METRICS[name.removeprefix(PREFIX)]
            seen.add(metric.name)
            assert set(sample.labels) - {"le"} == set(metric.labels)
            if not sample.name.endswith("_created"):
                kind = "gauge" if metric.kind == "info" else metric.kind
                assert family.type == kind, sample.name
    assert seen == set(METRICS) - {metric.name for metric in (*ACTING, *ACT)}


def test_every_metric_is_documented() -> None:
    """The page has exactly one line per metric, with its type, labels and help."""
    lines = [m for m in DOCS.read_text().splitlines() if m.startswith(f"| `{PREFIX}")]
    expected = []
    for metric in METRICS.values():
        is_release = set(R) <= set(metric.labels)
        labels = ("R", *metric.labels[len(R) :]) if is_release else metric.labels
        shown = ", ".join(f"`{label}`" for label in labels) or "-"
        expected.append(
            f"| `{PREFIX}{metric.name}` | {metric.kind} | {shown} | {metric.help} |"
        )
    assert lines == expected


def test_registry_is_our_own() -> None:
    """Two workers in one process do not meet in a global registry."""
    first, second = World(partition(release())), World()
    assert "2.4.0" in first.text()
    assert "2.4.0" not in second.text()
