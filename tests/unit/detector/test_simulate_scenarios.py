"""Simulated effects: as large as asked, and where they were asked for.

Bounds on simulated figures state how improbable it is that a correct program fails.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from detector.simulator import confounders as looks
from detector.simulator import harms
from detector.simulator.rollout import Adoption, Rolling, Waves, blue_green
from detector.simulator.service import FeedbackShape, LatencyShape, Noise, Stratum
from tests.unit.detector.simulated import (
    NEW,
    OLD,
    lines,
    rate,
    total,
    with_effects,
)


def test_error_factor_is_as_asked() -> None:
    """The candidate fails four times as often.

    About 600 failures of the candidate: a correct program is off by a quarter (5.5
    standard errors with those of the control) with a probability below 1e-7.
    """
    records = lines(with_effects(harms.MoreErrors(4.0), error_rate=0.01))
    assert rate(records) / rate(records, OLD) == pytest.approx(4.0, rel=0.5)


def test_harm_stays_in_its_segment() -> None:
    """Outside the segment the drawn failures are those without the harm.

    About 60 failures are expected there; 2.5 times as many is 12 standard errors.
    """
    harm = harms.MoreErrors(8.0, segment=(("os", "ios"),))
    records = lines(with_effects(harm))
    assert rate(records, os="ios") > 2.5 * rate(records, OLD, os="ios")
    assert rate(records, os="android") < 2.5 * rate(records, OLD, os="android")


def test_delayed_harm_starts_late() -> None:
    """Nothing is affected before the onset."""
    play = with_effects(harms.MoreErrors(4.0, after_min=12)).play(
        np.random.default_rng(1)
    )
    assert play.onset_ms == play.deploy_ms + 12 * 60_000
    assert play.until(play.affected, play.onset_ms) == 0.0


def test_leaks_grow_to_their_factor() -> None:
    """The first minutes of a leak are better than the last ones.

    About 30 against 300 expected failures: more than 10 standard errors.
    """
    leak = harms.MoreErrors(10.0, grows_min=30)
    play = with_effects(leak).play(np.random.default_rng(1))
    third = len(play.failed) // 3
    assert play.failed[:third].sum() < play.failed[-third:].sum() / 3


def test_lost_use_leaves_errors_alone() -> None:
    """Sessions fall to the factor while the other release keeps its own.

    15,000 sessions an arm: a tenth is more than 8 standard errors.
    """
    records = lines(with_effects(harms.LessUse(0.5)))
    deploy_ms = next(r["ts"] for r in records if r["kind"] == "deploy")
    arms = [
        total(records, "sessions", "usage", name, lambda r: r["ts"] >= deploy_ms)
        for name in (OLD, NEW)
    ]
    assert arms[1] / arms[0] == pytest.approx(0.5, rel=0.1)


@pytest.mark.parametrize(
    ("harm", "above_ms", "ratio"),
    [
        (harms.Slower(factor=2.0), 120.0, 1.75),
        (harms.Slower(tail_share=0.1), 900.0, 8.0),
    ],
)
def test_durations_shift_as_asked(
    harm: harms.Effect, above_ms: float, ratio: float
) -> None:
    """Twice the duration moves the body, a tail the far buckets.

    Share of durations above a bound, new over old; thousands of durations each.
    Doubling lifts the share above the median from .5 to .87.
    """
    records = lines(with_effects(harm, latency=LatencyShape(bounds_ms=(above_ms,))))
    counts = {
        name: np.sum(
            [
                r["counts"]
                for r in records
                if r["kind"] == "latency" and r["release"] == name
            ],
            axis=0,
        )
        for name in (OLD, NEW)
    }
    slow = {name: of[1] / of.sum() for name, of in counts.items()}
    assert slow[NEW] > 0.9 * ratio * slow[OLD]


def test_worse_feedback_is_more_and_lower() -> None:
    """Twice the voices with a score lower by one.

    1,500 voices of the old release: the bounds are 10 standard errors away.
    """
    records = lines(
        with_effects(
            harms.WorseFeedback(2.0, 1.0), feedback=FeedbackShape(per_session=0.1)
        )
    )
    voices = {n: total(records, "count", "feedback", n) for n in (OLD, NEW)}
    means = {
        n: total(records, "score_sum", "feedback", n) / voices[n] for n in (OLD, NEW)
    }
    assert voices[NEW] > 1.3 * voices[OLD]
    assert means[OLD] - means[NEW] == pytest.approx(1.0, abs=0.25)


def test_stuck_steps_lose_their_users() -> None:
    """Half as many pass the step, as many as before come to it.

    10,000 sessions come to it: a tenth is more than 10 standard errors.
    """
    steps = (("basket", 0.5), ("pay", 0.9))
    records = lines(with_effects(harms.StuckStep(0.5), steps=steps))
    deploy_ms = next(r["ts"] for r in records if r["kind"] == "deploy")
    paid = {}
    for name in (OLD, NEW):
        found = [r for r in records if r.get("step") == "pay" and r["release"] == name]
        passed = sum(r["outcomes"]["ok"] for r in found if r["ts"] >= deploy_ms)
        came = sum(r["count"] for r in found if r["ts"] >= deploy_ms)
        paid[name] = passed / came
    assert paid[OLD] == pytest.approx(0.9, abs=0.05)
    assert paid[NEW] == pytest.approx(0.45, abs=0.05)


def test_new_names_add_to_the_total() -> None:
    """A new signature comes on top, a rename does not.

    Expected failures of the candidate 150, or 300 with the signature.
    """
    records = lines(with_effects(harms.NewSignature(1.0)))
    assert rate(records) > 1.3 * rate(records, OLD)
    renamed = lines(with_effects(looks.Renamed(1.0)))
    names = {
        n: {
            r["signature"]
            for r in renamed
            if r["kind"] == "error" and r["release"] == n
        }
        for n in (OLD, NEW)
    }
    assert not names[OLD] & names[NEW]
    assert rate(renamed) < 1.7 * rate(renamed, OLD)


def test_adopters_are_no_random_sample() -> None:
    """The leaning stratum's share is larger at first and fair in the end."""
    lean = looks.EarlyAdopters({0: 1.6, 1: 0.2}, half_life_min=4)
    records = lines(with_effects(lean))

    def android_share(from_min: float, to_min: float) -> float:
        """Share of android among the candidate's sessions of some minutes."""
        deploy_ms = next(r["ts"] for r in records if r["kind"] == "deploy")
        low, high = deploy_ms + from_min * 60_000, deploy_ms + to_min * 60_000
        counts = dict.fromkeys(("android", "ios"), 0.0)
        for record in records:
            of_new = record["kind"] == "usage" and record["release"] == NEW
            if of_new and low <= record["ts"] < high:
                counts[record["attrs"]["os"]] += record["sessions"]
        return counts["android"] / sum(counts.values())

    assert android_share(0, 2) > 0.8
    assert android_share(25, 30) == pytest.approx(0.6, abs=0.07)


def test_bots_add_events_not_sessions() -> None:
    """A scanner is few sessions and many events under a name of its own."""
    bots = looks.Bots(sessions_per_min=2.0, events_per_session=50.0)
    found = [
        r for r in lines(with_effects(bots)) if r.get("signature", "")[:3] == "Not"
    ]
    assert {r["release"] for r in found} == {NEW}
    assert sum(r["count"] for r in found) > 20 * sum(r["sessions"] for r in found)


def test_loops_are_few_devices() -> None:
    """A crash loop is many sessions of few users."""
    loop = looks.CrashLoop(restarts_per_min=50.0, devices=5.0)
    scenario = with_effects(loop, counting="users")
    found = [
        r
        for r in lines(scenario)
        if r["kind"] == "error" and r["signature"][:3] == "SIG"
    ]
    assert sum(r["users"] for r in found) < sum(r["count"] for r in found) / 4


def test_outage_of_old_spares_the_new() -> None:
    """The old release's own trouble leaves the candidate as it is.

    150 failures expected of the candidate, 1,500 of the old one.
    """
    records = lines(with_effects(looks.Outage(-5, 30, 10.0, arm="old")))
    assert rate(records, OLD) > 5 * rate(records)


def test_waves_flip_whole_regions() -> None:
    """A region has one release at a time, and a deploy event with its scope."""
    strata = tuple(Stratum((("region", r),), 1.0) for r in ("eu", "us", "ap"))
    waves = Waves(order=("us", "eu"), every_min=10)
    scenario = replace(with_effects(strata=strata), rollout=waves)
    records = lines(scenario)
    deploys = [r for r in records if r["kind"] == "deploy"]
    assert [d["scope"]["region"] for d in deploys] == ["us", "eu"]
    seen = {(r["ts"], r["attrs"]["region"]) for r in records if r["kind"] == "usage"}
    usage = [r for r in records if r["kind"] == "usage"]
    assert len(usage) == len(seen)
    last = {r["attrs"]["region"]: r["release"] for r in usage}
    assert last == {"us": NEW, "eu": NEW, "ap": OLD}


def test_rollouts_reach_their_weight() -> None:
    """Rolling and blue/green end at 1, a store rollout rises towards its phase."""
    after_min = np.array([-1.0, 0.0, 2.5, 5.0, 600.0])
    one = (Stratum((), 1.0),)
    assert Rolling().shares(after_min, one)[-2:, 0].tolist() == [1.0, 1.0]
    assert blue_green().shares(after_min, one)[:, 0].tolist() == [0.0, 1, 1, 1, 1]
    shares = Adoption(steps=((0, 0.5),)).shares(after_min, one)[:, 0]
    assert np.all(np.diff(shares) >= 0)
    assert 0.4 < shares[-1] < 0.5


def test_noise_has_its_spread() -> None:
    """The log of an AR(1) path has the asked spread and correlation.

    4,000 columns: bounds lie more than 10 standard errors away.
    """
    paths = np.log(Noise(0.3, 10).factors(np.random.default_rng(1), 21, 4000, 60))
    assert paths.std(axis=0).shape == (4000,)
    assert paths[-1].std() == pytest.approx(0.3, rel=0.15)
    kept = np.corrcoef(paths[0], paths[10])[0, 1]
    assert kept == pytest.approx(np.exp(-1), abs=0.15)


def per_session(records: list[dict[str, Any]], release: str = NEW) -> float:
    """Requests of a session of a release."""
    made = total(records, "count", "usage", release)
    return made / total(records, "sessions", "usage", release)


def test_retries_keep_the_requests() -> None:
    """Half of the sessions make twice the requests.

    Some thousand sessions: a tenth is more than 6 standard errors.
    """
    harmed = lines(with_effects(harms.Retries(0.5)))
    plain = lines(with_effects())
    for field, ratio in (("sessions", 0.5), ("count", 1.0)):
        now, before = (total(r, field, "usage", NEW) for r in (harmed, plain))
        assert now / before == pytest.approx(ratio, rel=0.1)


def test_broken_buttons_leave_sessions() -> None:
    """Sessions begin as ever and do less, on the candidate and in its segment only.

    Some thousand sessions: a tenth is more than 6 standard errors.
    """
    records = lines(with_effects(harms.LessDone(0.5)))
    assert per_session(records) == pytest.approx(1.5, rel=0.1)
    assert per_session(records, OLD) == pytest.approx(3.0, rel=0.1)


def test_lasting_sessions_begin_young() -> None:
    """Where sessions last, the candidate's first ones have done little yet.

    Over 20 of 30 minutes' mean length less than half is made: bounds lie more than
    10 standard errors away.
    """
    slow = with_effects(requests_per_session=20.0, session_min=30.0)
    records = [r for r in lines(slow) if r["kind"] == "usage"]
    deploy_ms = min(r["ts"] for r in records if r["release"] == NEW)
    first = [r for r in records if r["ts"] < deploy_ms + 10 * 60_000]
    assert per_session(first) < 0.4 * per_session(first, OLD)


def test_session_spread_is_as_asked() -> None:
    """What sessions do varies as asked, and no more where nothing is asked.

    500 windows: the ratio of variances is off by a half with probability below 1e-6.
    """
    plain, varied = (
        lines(with_effects(session_spread=spread, requests_per_session=20.0))
        for spread in (0.0, 2.0)
    )
    noise = []
    for records in (plain, varied):
        usage = [r for r in records if r["kind"] == "usage" and r["release"] == OLD]
        off = [(r["count"] - 20 * r["sessions"]) / r["sessions"] ** 0.5 for r in usage]
        noise.append(float(np.var(off)))
    assert noise[1] > 20 * noise[0]
