"""Named populations of releases: harmless under some circumstance, or bad in a way.

A family draws the parameters of a scenario, so that it stands for many services
and not for one. ``HARMLESS`` must not be recommended against, ``BAD`` must.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from detector.simulator import confounders as looks
from detector.simulator import harms
from detector.simulator.rollout import (
    Adoption,
    Rolling,
    Rollout,
    Waves,
    ab_test,
    blue_green,
)
from detector.simulator.scenario import Scenario
from detector.simulator.service import (
    FeedbackShape,
    LatencyShape,
    Noise,
    Service,
    Stratum,
)
from detector.simulator.servicedraw import (
    MOBILE_OLDS,
    REGIONS,
    lasting_service,
    log_uniform,
    plain_service,
    regional_service,
    routed_service,
)

Family = Callable[[np.random.Generator], Scenario]


def canary(family: str, rng: np.random.Generator, *effects: harms.Effect) -> Scenario:
    """A canary of a plain service under some effects."""
    return Scenario(family, plain_service(rng), effects=effects)


def flip(
    family: str,
    rng: np.random.Generator,
    rollout: Rollout,
    *effects: harms.Effect,
    **changes: Any,
) -> Scenario:
    """A release without a concurrent arm after two days of history."""
    changes = {"window_s": 300, "daily_errors": rng.uniform(0.0, 0.3)} | changes
    service = plain_service(rng, **changes)
    return _long(family, service, rollout, rng, *effects)


def _long(
    family: str,
    service: Service,
    rollout: Rollout,
    rng: np.random.Generator,
    *effects: harms.Effect,
) -> Scenario:
    return Scenario(
        family,
        service,
        rollout,
        effects,
        past_min=2 * 1440,
        post_min=360,
    )


def _stationary(rng: np.random.Generator) -> Scenario:
    still = plain_service(
        rng, daily_traffic=0.0, wander_traffic=Noise(), wander_errors=Noise()
    )
    return Scenario("stationary", still, ab_test())


def _daily(rng: np.random.Generator) -> Scenario:
    service = plain_service(rng, daily_traffic=0.8, daily_errors=0.6, window_s=300)
    steps = ((0.0, 0.05), (240.0, 0.25), (480.0, 0.5))
    return Scenario(
        "daily",
        service,
        Rollout(steps=steps),
        past_min=360,
        post_min=1440,
    )


def _outage(rng: np.random.Generator) -> Scenario:
    start = rng.uniform(0, 90)
    end = start + rng.uniform(5, 40)
    return canary("outage", rng, looks.Outage(start, end, log_uniform(rng, 2, 20)))


def _regional_outage(rng: np.random.Generator) -> Scenario:
    start = rng.uniform(0, 90)
    away = looks.Outage(
        start,
        start + rng.uniform(5, 40),
        log_uniform(rng, 2, 20),
        segment=(("os", "ios"),),
    )
    return canary("regional outage", rng, away)


def _bursts(rng: np.random.Generator) -> Scenario:
    service = plain_service(
        rng, counting="requests", events_per_failure=rng.uniform(2, 6)
    )
    return Scenario("bursts", service)


def _private_noise(rng: np.random.Generator) -> Scenario:
    noise = Noise(rng.uniform(0.05, 0.12), rng.uniform(15, 60))
    return Scenario("private noise", plain_service(rng, wander_private=noise))


def _early_adopters(rng: np.random.Generator) -> Scenario:
    strata = (
        Stratum((("os", "android"),), 0.6, frailty=rng.uniform(2, 5)),
        Stratum((("os", "ios"),), 0.4),
    )
    lean = looks.EarlyAdopters({0: 1.6, 1: 0.2}, rng.uniform(1.0, 1.15))
    return Scenario(
        "early adopters", plain_service(rng, strata=strata), effects=(lean,)
    )


def _early_habits(rng: np.random.Generator) -> Scenario:
    lean = looks.EarlyAdopters({0: 1.6, 1: 0.2}, acts=rng.uniform(0.8, 1.4))
    service = lasting_service(rng, session_min=log_uniform(rng, 1, 10))
    return Scenario("early habits", service, effects=(lean,))


def _long_sessions(rng: np.random.Generator) -> Scenario:
    rollouts = (Rollout(), ab_test(rng.uniform(0.05, 0.5)), Adoption(tau_min=60))
    rollout = rollouts[int(rng.integers(len(rollouts)))]
    return Scenario("long sessions", lasting_service(rng), rollout, post_min=150)


def _broken_button(rng: np.random.Generator) -> Scenario:
    # In a store rollout no plan tells how much usage there should be.
    rollout = Rollout() if rng.random() < 0.5 else Adoption(tau_min=60)
    service = lasting_service(rng, session_min=log_uniform(rng, 1, 10))
    broken = harms.LessDone(rng.uniform(0.2, 0.55))
    return Scenario("broken button", service, rollout, (broken,))


def _waves(rng: np.random.Generator, *effects: harms.Effect) -> Scenario:
    name = "bad waves" if effects else "waves"
    service = regional_service(rng)
    order = tuple(rng.permutation(REGIONS)[:3].tolist())
    return _long(name, service, Waves(order=order), rng, *effects)


def _rolling(rng: np.random.Generator) -> Scenario:
    return flip("rolling updates", rng, Rolling(takes_min=rng.uniform(2, 10)))


def _old_trouble(rng: np.random.Generator) -> Scenario:
    end = rng.uniform(-5, 5)
    before = looks.Outage(end - 20, end, log_uniform(rng, 3, 15), arm="old")
    return canary("old trouble", rng, before)


def _next_launch(rng: np.random.Generator, *effects: harms.Effect) -> Scenario:
    service = plain_service(rng, olds=MOBILE_OLDS, window_s=300)
    waits = looks.NextLaunch(rng.uniform(40, 180))
    name = "bad launches" if effects else "next launch"
    return _long(name, service, Adoption(), rng, waits, *effects)


def _crash_loop(rng: np.random.Generator) -> Scenario:
    service = plain_service(rng, counting="users")
    loop = looks.CrashLoop(log_uniform(rng, 2, 20), devices=rng.uniform(5, 30))
    return Scenario("crash loop", service, effects=(loop,))


def _tiny(rng: np.random.Generator) -> Scenario:
    few = plain_service(rng, sessions_per_min=log_uniform(rng, 0.2, 5))
    return Scenario("tiny", few)


def _marketing(rng: np.random.Generator) -> Scenario:
    start = rng.uniform(-20, 60)
    more = looks.Marketing(start, start + rng.uniform(20, 60), rng.uniform(2, 6))
    return canary("marketing", rng, more)


def _sampled(rng: np.random.Generator, *effects: harms.Effect) -> Scenario:
    keep = looks.Sampled(
        *(log_uniform(rng, 0.05, 1.0) for _ in range(2)),
        *(log_uniform(rng, 0.3, 1.0) for _ in range(2)),
    )
    return canary("bad sampled" if effects else "sampled", rng, keep, *effects)


def _senders(rng: np.random.Generator, *effects: harms.Effect) -> Scenario:
    many = looks.ManySenders(int(rng.integers(4, 12)), rng.uniform(0.1, 2))
    name = "bad senders" if effects else "senders"
    return canary(name, rng, many, looks.RepeatedLines(0.1), *effects)


def _funnel(family: str, rng: np.random.Generator, *effects: harms.Effect) -> Scenario:
    steps = (("basket", rng.uniform(0.3, 0.6)), ("pay", rng.uniform(0.6, 0.95)))
    return Scenario(family, plain_service(rng, steps=steps), effects=effects)


HARMLESS: dict[str, Family] = {
    "stationary": _stationary,
    "ramp": lambda rng: canary("ramp", rng),
    "daily": _daily,
    "outage": _outage,
    "bursts": _bursts,
    "private noise": _private_noise,
    "early adopters": _early_adopters,
    "early habits": _early_habits,
    "long sessions": _long_sessions,
    "waves": _waves,
    "rolling updates": _rolling,
    "blue/green": lambda rng: flip("blue/green", rng, blue_green()),
    "regional outage": _regional_outage,
    "old trouble": _old_trouble,
    "blip": lambda rng: canary(
        "blip", rng, looks.Blip(rng.uniform(1, 3), log_uniform(rng, 3, 15))
    ),
    "marketing": _marketing,
    "bots": lambda rng: canary("bots", rng, looks.Bots(log_uniform(rng, 0.1, 1.0))),
    "crash loop": _crash_loop,
    "rename": lambda rng: canary("rename", rng, looks.Renamed(rng.uniform(0.4, 1))),
    "improvement": lambda rng: canary(
        "improvement", rng, harms.MoreErrors(rng.uniform(0.2, 0.8))
    ),
    "tiny": _tiny,
    "skewed clock": lambda rng: canary(
        "skewed clock", rng, looks.SkewedClock(rng.uniform(-240, 240))
    ),
    "late lines": lambda rng: canary(
        "late lines", rng, looks.LateLines(rng.uniform(0.05, 0.4), arm="new")
    ),
    "lost lines": lambda rng: canary(
        "lost lines", rng, looks.LostLines(rng.uniform(0.1, 0.6), start_min=30)
    ),
    "repeated lines": lambda rng: canary(
        "repeated lines", rng, looks.RepeatedLines(rng.uniform(0.05, 0.5))
    ),
    "sampled": _sampled,
    "senders": _senders,
    "next launch": _next_launch,
    "routes": lambda rng: Scenario("routes", routed_service(rng)),
    "funnel": lambda rng: _funnel("funnel", rng),
}
"""Families whose releases must be left alone."""


def _ratio(rng: np.random.Generator) -> float:
    return log_uniform(rng, 2, 8)


def _segment(rng: np.random.Generator) -> Scenario:
    where = (("os", "ios" if rng.random() < 0.5 else "android"),)
    return canary("segment", rng, harms.MoreErrors(_ratio(rng), segment=where))


def _route(rng: np.random.Generator) -> Scenario:
    broken = harms.MoreErrors(log_uniform(rng, 8, 30), segment=(("route", "/r11"),))
    return Scenario("route", routed_service(rng), effects=(broken,))


def _slower(family: str, rng: np.random.Generator, how: harms.Slower) -> Scenario:
    service = plain_service(rng, latency=LatencyShape(log_uniform(rng, 40, 400)))
    return Scenario(family, service, effects=(how,))


def _feedback(rng: np.random.Generator) -> Scenario:
    service = plain_service(
        rng, feedback=FeedbackShape(), sessions_per_min=log_uniform(rng, 800, 4000)
    )
    worse = harms.WorseFeedback(rng.uniform(1.5, 3), rng.uniform(0.5, 1.5))
    return Scenario("feedback", service, effects=(worse,))


BAD: dict[str, Family] = {
    "errors": lambda rng: canary("errors", rng, harms.MoreErrors(_ratio(rng))),
    "delayed": lambda rng: canary(
        "delayed", rng, harms.MoreErrors(_ratio(rng), after_min=rng.uniform(20, 70))
    ),
    "leak": lambda rng: canary(
        "leak", rng, harms.MoreErrors(_ratio(rng), grows_min=rng.uniform(20, 90))
    ),
    "segment": _segment,
    "route": _route,
    "latency": lambda rng: _slower(
        "latency", rng, harms.Slower(factor=rng.uniform(1.3, 2))
    ),
    "latency tail": lambda rng: _slower(
        "latency tail", rng, harms.Slower(tail_share=rng.uniform(0.02, 0.1))
    ),
    "usage": lambda rng: canary("usage", rng, harms.LessUse(rng.uniform(0.3, 0.75))),
    "masked usage": lambda rng: canary(
        "masked usage", rng, harms.Retries(rng.uniform(0.3, 0.7))
    ),
    "broken button": _broken_button,
    "stuck step": lambda rng: _funnel(
        "stuck step", rng, harms.StuckStep(rng.uniform(0.4, 0.85))
    ),
    "signature": lambda rng: canary(
        "signature", rng, harms.NewSignature(rng.uniform(0.15, 0.6))
    ),
    "feedback": _feedback,
    "bad rolling": lambda rng: flip(
        "bad rolling", rng, Rolling(), harms.MoreErrors(_ratio(rng))
    ),
    "bad blue/green": lambda rng: flip(
        "bad blue/green", rng, blue_green(), harms.MoreErrors(_ratio(rng))
    ),
    "bad waves": lambda rng: _waves(rng, harms.MoreErrors(_ratio(rng))),
    "bad launches": lambda rng: _next_launch(rng, harms.MoreErrors(_ratio(rng))),
    "bad sampled": lambda rng: _sampled(rng, harms.MoreErrors(_ratio(rng))),
    "bad senders": lambda rng: _senders(rng, harms.MoreErrors(_ratio(rng))),
}
"""Families whose releases must be taken back."""
