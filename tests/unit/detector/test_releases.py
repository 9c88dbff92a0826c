"""The lives of releases: start, ramp, way back, inference, and who is the control."""

from __future__ import annotations

from typing import Any

import pytest

from detector.events import Deploy
from detector.releases import (
    INFER_MIN_BASELINE_MS,
    PROVEN_MIN_UNITS,
    RELEASES_MAX,
    UNPROVEN_MAX,
    Registry,
    Release,
    Stage,
)

HOUR_MS = 3_600_000
NONE: frozenset[str] = frozenset()


def deploy(ts: int, release: str, **fields: Any) -> Deploy:
    """A deploy event."""
    return Deploy(ts=ts, service="s", release=release, **fields)


def live(registry: Registry, name: str, now_ms: int, units: float = 1000.0) -> Release:
    """A release with traffic until now."""
    release = registry.admit(name, now_ms)
    release.units += units
    release.last_usage_ms = now_ms
    return release


@pytest.fixture
def registry() -> Registry:
    """Release 1 is live for an hour, then 2 is deployed over it."""
    registry = Registry()
    live(registry, "1", 0)
    live(registry, "1", HOUR_MS)
    registry.on_deploy(deploy(HOUR_MS, "2", predecessor="1"))
    return registry


def stages(registry: Registry) -> dict[str, str]:
    """Stage of every release."""
    return {r.name: r.stage.value for r in registry.releases.values()}


def control(registry: Registry, name: str, blamed: frozenset[str] = NONE) -> list[str]:
    """Names of the preferred control group."""
    groups = registry.control_of(registry.releases[name], blamed)
    return [registry.names_of[n] for n in groups[0]] if groups else []


def test_deploy_opens_a_candidate(registry: Registry) -> None:
    """What is deployed is judged against its predecessor."""
    assert stages(registry) == {"1": "baseline", "2": "candidate"}
    assert control(registry, "2") == ["1"]


def test_second_deploy_is_ramp_step(registry: Registry) -> None:
    """A later event of a live release changes its weight, not its start."""
    registry.on_deploy(deploy(HOUR_MS + 5, "2", phase="progressed", weight=0.5))
    release = registry.releases["2"]
    assert (release.started_ms, release.weight) == (HOUR_MS, 0.5)


def test_ramp_step_keeps_prohibitions(registry: Registry) -> None:
    """A step that leaves rollback and criticality out does not lift them."""
    registry.on_deploy(
        deploy(HOUR_MS, "2", rollback="forbidden", criticality="critical")
    )
    registry.on_deploy(deploy(HOUR_MS + 5, "2", phase="progressed"))
    release = registry.releases["2"]
    assert (release.rollback, release.criticality) == ("forbidden", "critical")


@pytest.mark.parametrize("phase", ["aborted", "rolled_back", "withdrawn"])
def test_way_back_ends_a_candidate(registry: Registry, phase: str) -> None:
    """A release that was taken back is no candidate any more."""
    registry.on_deploy(deploy(HOUR_MS + 5, "2", phase=phase))
    assert stages(registry)["2"] == "ended"
    assert registry.releases["2"].ended_by == phase


def test_deploy_of_baseline_is_rollback(registry: Registry) -> None:
    """Deploying what was live before ends the newer release."""
    registry.on_deploy(deploy(HOUR_MS + 5, "1"))
    assert stages(registry) == {"1": "baseline", "2": "ended"}


def test_rollback_to_graduate_is_recognised(registry: Registry) -> None:
    """A baseline that was itself deployed once can be gone back to."""
    registry.graduate(registry.releases["2"], 9 * HOUR_MS)
    live(registry, "2", 10 * HOUR_MS)
    registry.on_deploy(deploy(10 * HOUR_MS, "3"))
    assert control(registry, "3") == ["2"]
    registry.on_deploy(deploy(11 * HOUR_MS, "2"))
    assert stages(registry) == {"1": "baseline", "2": "baseline", "3": "ended"}


def test_rollback_to_young_release(registry: Registry) -> None:
    """Going back to a release under judgement itself needs the newer one's name."""
    live(registry, "2", HOUR_MS)
    registry.on_deploy(deploy(2 * HOUR_MS, "3", predecessor="2"))
    registry.on_deploy(deploy(2 * HOUR_MS + 1, "2", phase="progressed", weight=0.7))
    assert stages(registry)["3"] == "candidate"
    registry.on_deploy(deploy(2 * HOUR_MS + 2, "2", predecessor="3"))
    assert stages(registry) == {"1": "baseline", "2": "candidate", "3": "ended"}


def test_redeploy_after_rollback_starts_anew(registry: Registry) -> None:
    """The same release deployed again later is judged again."""
    registry.on_deploy(deploy(HOUR_MS + 5, "2", phase="rolled_back"))
    registry.on_deploy(deploy(3 * HOUR_MS, "2"))
    release = registry.releases["2"]
    assert (release.stage, release.started_ms) == (Stage.CANDIDATE, 3 * HOUR_MS)


def test_late_copy_restarts_nothing(registry: Registry) -> None:
    """A repeated start that arrives after the rollback is an old fact."""
    registry.on_deploy(deploy(HOUR_MS + 5, "2", phase="rolled_back"))
    registry.on_deploy(deploy(HOUR_MS, "2", predecessor="1"))
    assert stages(registry)["2"] == "ended"


def test_nobody_is_own_control(registry: Registry) -> None:
    """A redeploy that names itself as predecessor keeps the real one."""
    registry.on_deploy(deploy(HOUR_MS + 5, "2", predecessor="2"))
    assert control(registry, "2") == ["1"]
    fresh = Registry()
    fresh.on_deploy(deploy(0, "9", predecessor="9"))
    assert control(fresh, "9") == []


def test_unknown_predecessor_falls_back(registry: Registry) -> None:
    """A predecessor never seen leaves the releases that were live before."""
    registry.on_deploy(deploy(HOUR_MS + 5, "3", predecessor="0.9"))
    assert control(registry, "3") == ["1"]


def test_blamed_release_is_no_control(registry: Registry) -> None:
    """A release under recommendation is not what others are compared with."""
    live(registry, "2", HOUR_MS + 4)
    registry.on_deploy(deploy(HOUR_MS + 5, "3", predecessor="2"))
    assert control(registry, "3", frozenset({"2"})) == ["1"]


def test_silent_releases_were_not_live(registry: Registry) -> None:
    """Only releases with usage shortly before the deploy count as live."""
    registry.on_deploy(deploy(3 * HOUR_MS, "3"))
    assert registry.releases["3"].live_before == ()


def test_real_traffic_infers_a_release() -> None:
    """Beside an older baseline a release with real traffic becomes a candidate."""
    registry = Registry()
    live(registry, "1", 0)
    release = live(registry, "2", INFER_MIN_BASELINE_MS, units=150)
    live(registry, "1", INFER_MIN_BASELINE_MS)
    assert registry.infer(release, INFER_MIN_BASELINE_MS, 2150)
    assert (release.inferred, release.predecessor) == (True, "1")


@pytest.mark.parametrize(
    ("units", "total", "age_ms"),
    [
        (99, 1000, INFER_MIN_BASELINE_MS),
        (150, 100_000, INFER_MIN_BASELINE_MS),
        (150, 1000, INFER_MIN_BASELINE_MS - 1),
    ],
)
def test_scanners_infer_nothing(units: float, total: float, age_ms: int) -> None:
    """Few units, a small share or a baseline as young as the release open nothing."""
    registry = Registry()
    live(registry, "1", 0)
    release = live(registry, "999.9.9", age_ms, units)
    assert not registry.infer(release, age_ms, total)


def test_deploy_event_uncaps_inferred_release() -> None:
    """The deploy event that arrives late makes an inferred release a known one."""
    registry = Registry()
    live(registry, "1", 0)
    release = live(registry, "2", HOUR_MS, units=150)
    live(registry, "1", HOUR_MS)
    registry.infer(release, HOUR_MS, 2150)
    registry.on_deploy(deploy(HOUR_MS + 5, "2", predecessor="1", weight=0.1))
    assert (release.inferred, release.weight) == (False, 0.1)
    assert release.stage is Stage.CANDIDATE


def test_thousand_names_push_nobody_out(registry: Registry) -> None:
    """A scanner's names evict each other, never baseline or candidate."""
    for index in range(1000):
        live(registry, f"999.{index}", HOUR_MS + index, units=1)
    assert len(registry.releases) == 2 + UNPROVEN_MAX
    assert {"1", "2"} <= set(registry.releases)
    assert set(registry.names_of.values()) == set(registry.releases)
    assert registry.evicted == 1000 - UNPROVEN_MAX


def test_used_releases_fill_the_table(registry: Registry) -> None:
    """Names with real usage stay beside each other up to the limit."""
    for index in range(1000):
        live(registry, f"7.{index}", HOUR_MS + index, units=PROVEN_MIN_UNITS)
    assert len(registry.releases) == RELEASES_MAX
    assert {"1", "2"} <= set(registry.releases)
    assert registry.evicted == 1000 + 2 - RELEASES_MAX


def test_hundreds_of_deploys_keep_working() -> None:
    """After more deploys than names fit, the newest release is still judged."""
    registry = Registry()
    live(registry, "r0", 0)
    for index in range(1, 5 * RELEASES_MAX):
        now_ms = index * HOUR_MS
        live(registry, f"r{index - 1}", now_ms)
        release = registry.on_deploy(deploy(now_ms, f"r{index}"))
        assert (release.name, release.stage) == (f"r{index}", Stage.CANDIDATE)
        assert control(registry, f"r{index}") == [f"r{index - 1}"]
        registry.graduate(release, now_ms + 1)


def test_deployers_are_remembered(registry: Registry) -> None:
    """Each who deployed a step, once; a new start of the release begins anew."""
    registry.on_deploy(deploy(HOUR_MS, "3", predecessor="2", actor="ada"))
    for name in ("bob", "ada", None):
        registry.on_deploy(deploy(HOUR_MS, "3", weight=0.5, actor=name))
    release = registry.releases["3"]
    assert release.actors == ("ada", "bob")
    registry.end(release, "aborted", HOUR_MS)
    registry.on_deploy(deploy(2 * HOUR_MS, "3", actor="eve"))
    assert release.actors == ("eve",)
