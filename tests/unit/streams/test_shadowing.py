"""A shadow reaches nobody: where it writes, what it may, and what it leaves alone."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from detector.records import LogRecord, Output
from detector.rulefile import Rule, RuleSet, load_rules
from detector.rulefile.parts import Match
from streams.app import create_app
from streams.bus import Bus
from streams.core import DetectorCores
from streams.metrics import Readings, RulesStatus
from streams.outbox import DESTINATIONS
from streams.permissions import Role, permissions
from streams.progress import Counters
from streams.reload import ruleset_command
from streams.settings import Settings
from streams.shadowing import (
    ShadowCores,
    ShadowMetrics,
    create_shadow,
    in_shadow,
    shadow_ways,
)
from streams.topics import topics_of
from streams.topictable import TOPICS

KEY = b"0123456789abcdef"
TRIED = "version: 1\nrules: [{name: tried, mode: auto}]\nend_of_rules: true\n"


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    path = tmp_path / "candidate.yaml"
    path.write_text(TRIED, encoding="utf-8")
    return path


def test_mode_is_forced() -> None:
    """Whatever mode a candidate has, it is tried in shadow; all else is as it says."""
    given = load_rules(TRIED, source="test")
    (rule,) = in_shadow(given).rules
    assert rule.mode == "shadow"
    assert rule.without_baseline == given.rules[0].without_baseline == "hold"
    assert in_shadow(in_shadow(given)) == in_shadow(given)


def test_nothing_goes_to_a_topic_of_a_worker() -> None:
    """Each kind of output has a way, and none leads to a topic others read."""
    ways = shadow_ways("x")
    assert ways.topics.keys() == DESTINATIONS.keys()
    own = {f"shadow.x.{name}" for name in ("verdicts", "recommendations")}
    assert {topic for topics in ways.topics.values() for topic in topics} == own
    assert not own & {spec.name for spec in TOPICS}


def test_bus_sends_only_there() -> None:
    """What a worker would send to audit, dead letters or the log is sent nowhere: a bus
    without a connection has nothing to complain about."""
    bus = Bus(Settings(), "shadow.x.state", ways=shadow_ways("x"))
    quiet = [w for w, topics in shadow_ways("x").topics.items() if not topics]
    assert "deadletter" in quiet
    asyncio.run(bus.emit([Output(word, "k", b"{}", "i") for word in quiet]))
    with pytest.raises(ConnectionError):
        asyncio.run(bus.emit([Output("verdicts", "k", b"{}", "i")]))


def test_rights_do_not_reach_a_worker() -> None:
    """It may write its own topics and nothing else, the log least of all."""
    conf = Settings(shadow="x")
    needs = permissions(conf, Role.SHADOW)
    written = {one.name for one in needs if one.operation == "Write"}
    assert written == {
        f"hypercare.shadow.x.{name}"
        for name in ("state", "verdicts", "recommendations")
    }
    assert {one.name for one in needs if one.kind == "group"} == {"hypercare-shadow-x"}
    assert not any(one.operation == "Write" for one in permissions(conf, Role.PILOT))


def test_topics_are_asked_for_by_name() -> None:
    """Without a name there are none: a worker's settings can not have one."""
    assert topics_of(Settings()) == TOPICS
    extra = topics_of(Settings(shadow="x"))[len(TOPICS) :]
    assert [spec.name for spec in extra] == [
        "shadow.x.state",
        "shadow.x.verdicts",
        "shadow.x.recommendations",
    ]
    assert not Settings.from_environment({"HYPERCARE_SHADOW": "x"}).shadow


def test_application_keeps_to_itself(rules: Path) -> None:
    """A group of its own, the log to read, no ingress, no pulse, no key, no ticks."""
    conf = Settings(prefix="x", group="g", signing_keys=(rules,), identity_key=KEY)
    app = create_shadow(conf, "strict", rules, 0)
    assert app.conf.id == "g-shadow-strict"
    assert app.lanes.topics == {"x.events"}
    assert not app.agents
    assert app.pulses() is None
    assert app.hypercare.signing_keys == ()
    duties = list(app.duties())
    assert [duty.__name__ for duty in duties] == ["watch_rules"]
    worker = create_app(Settings(prefix="x", group="g", identity_key=KEY))
    told = list(worker.duties())
    assert [duty.__name__ for duty in told] == ["run", "watch_rules", "run"]
    for duty in (*duties, *told):
        duty.close()


def test_rule_sets_of_the_log_pass_by() -> None:
    """A worker obeys a rule set in the log, a shadow keeps its own, also restored."""
    tried = in_shadow(load_rules(TRIED, source="test"))
    other = RuleSet(1, (Rule(name="other", match=Match()),))
    command = LogRecord(0, 1_000, b"all", ruleset_command(other, 1_000))
    worker = DetectorCores(tried, "log").new(0)
    shadow = ShadowCores(tried, "log").new(0)
    for core in (worker, shadow):
        core.apply([command])
        assert core.next_offset == 1
    assert worker.partition.rulebook.default == other
    assert shadow.partition.rulebook.default == tried
    again = ShadowCores(tried, "log").restore(0, shadow.all_shards(), 1)
    again.apply([LogRecord(1, 1_000, b"all", ruleset_command(other, 1_000))])
    assert again.partition.rulebook.default == tried


def test_changed_file_is_taken_over_by_state() -> None:
    """A partition restored from the state of an older file is under the new one."""
    old, new = (RuleSet(1, (Rule(name=name),)) for name in ("old", "new"))
    before = ShadowCores(old, "log").new(0)
    cores = ShadowCores(new, "log")
    restored = cores.restore(0, before.all_shards(), 0)
    assert restored.partition.rulebook.default == new
    assert not cores.put(restored)
    assert cores.put(before)
    assert before.partition.rulebook.default == new


def test_metrics_have_names_of_their_own() -> None:
    """No series of a shadow has the name of a worker's: no alert can fire on it."""
    metrics = ShadowMetrics(
        Readings(
            views=lambda: (),
            lanes=lambda: (),
            counters=Counters(),
            rules=lambda: RulesStatus(1, True),
            now_ms=lambda: 0,
            monotonic_s=lambda: 0.0,
        ),
        "strict",
    )
    asyncio.run(metrics.snapshot())
    body, _ = metrics.render()
    samples = [
        sample
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    ]
    assert any(s.name == "hypercare_shadow_rules_loaded" for s in samples)
    for sample in samples:
        assert sample.name.startswith("hypercare_shadow_")
        assert sample.labels["shadow"] == "strict"
