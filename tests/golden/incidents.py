"""Whole incidents as recordings: what happened, from which the files were drawn.

The recordings are kept as files, because a new version of a random generator must
not change what is tested. A missing file is drawn anew from here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Event = dict[str, Any]
START_MS = 1_795_356_000_000
SEED = 20_261_122


@dataclass
class Story:
    """A recording that is written line by line, a line a window.

    Attributes
    ----------
    window_s : int
        Length of the senders' windows.
    sessions : float
        Sessions a window of a stratum, all releases together.
    rate : float
        Share of sessions that fail.
    """

    window_s: int = 10
    sessions: float = 400.0
    rate: float = 0.01
    rng: np.random.Generator = field(
        default_factory=lambda: np.random.default_rng(SEED)
    )
    lines: list[bytes] = field(default_factory=list)
    now: int = 0

    def at(self, window: int) -> int:
        """Start of a window."""
        return START_MS + window * self.window_s * 1000

    def say(self, *events: Event, lag_ms: int = 400) -> None:
        """Write one line that arrives at the present window's end."""
        received_at = self.at(self.now) + lag_ms
        stamped = [{**event, "received_at": received_at} for event in events]
        self.lines.append(json.dumps(stamped, separators=(",", ":")).encode())

    def deploy(self, release: str = "2.4.0", **more: Any) -> None:
        """Say what is deployed now."""
        self.say(
            {
                "kind": "deploy",
                "ts": self.at(self.now),
                "service": "shop",
                "release": release,
                **more,
            }
        )

    def draw(
        self, release: str, share: float, factor: float = 1.0, **more: Any
    ) -> list[Event]:
        """Usage and errors of one release in the window that now begins."""
        total = int(self.rng.poisson(self.sessions * share))
        failed = int(self.rng.binomial(total, min(0.9, self.rate * factor)))
        common = {
            "ts": self.at(self.now),
            "window_s": self.window_s,
            "service": "shop",
            "release": release,
            **more,
        }
        events: list[Event] = [
            {"kind": "usage", "count": 3 * total, "sessions": total, **common}
        ]
        if failed:
            signature = "NullPointerException: pay" if factor > 1 else "Timeout: cart"
            events.append(
                {
                    "kind": "error",
                    "count": failed,
                    "sessions": failed,
                    "signature": signature,
                    **common,
                }
            )
        return events

    def run(self, windows: int, drawn: Callable[[], Iterable[Event]]) -> None:
        """Let windows pass, each with the events that ``drawn`` gives."""
        for _ in range(windows):
            events = list(drawn())
            self.now += 1
            if events:
                self.say(*events)

    def old(self, **more: Any) -> list[Event]:
        """All traffic on the old release."""
        return self.draw("2.3.1", 1.0, **more)

    def split(
        self, share: float, factor: float = 1.0, both: float = 1.0
    ) -> list[Event]:
        """Both releases side by side; ``both`` is what hits everybody."""
        return [
            *self.draw("2.3.1", 1 - share, both),
            *self.draw("2.4.0", share, both * factor),
        ]


def segment_canary() -> Story:
    """A canary is bad on android only; iOS must not dilute it."""
    story = Story(sessions=300.0)
    systems = ({"os": "android"}, {"os": "ios"})

    def before() -> list[Event]:
        return [e for a in systems for e in story.draw("2.3.1", 1.0, attrs=a)]

    def after() -> list[Event]:
        return [
            e
            for a in systems
            for e in (
                *story.draw("2.3.1", 0.8, attrs=a),
                *story.draw(
                    "2.4.0", 0.2, 5.0 if a["os"] == "android" else 1.0, attrs=a
                ),
            )
        ]

    story.run(6, before)
    story.deploy(predecessor="2.3.1", strategy="canary", weight=0.2)
    story.run(45, after)
    return story


def harm(story: Story, windows: int, factor: float = 6.0, **deploy: Any) -> Story:
    """Old traffic, a deploy, and harm in a third of the traffic."""
    story.run(6, story.old)
    story.deploy(**{"predecessor": "2.3.1", "strategy": "canary", **deploy})
    story.run(windows, lambda: story.split(0.3, factor))
    return story


def rollback() -> Story:
    """A rollback deploy closes the recommendation as executed."""
    story = harm(Story(), 35)
    story.deploy("2.3.1")
    story.run(8, story.old)
    return story


def recovery() -> Story:
    """The harm goes away (a dependency was repaired): withdrawn, not rolled back."""
    story = harm(Story(sessions=1200.0), 35)
    story.run(50, lambda: story.split(0.3, 0.5))
    return story


def bluegreen() -> Story:
    """Everything is replaced at once: nothing runs beside it, nothing is claimed."""
    story = Story()
    story.run(6, story.old)
    story.deploy(predecessor="2.3.1", strategy="bluegreen", weight=1.0)
    story.run(30, lambda: story.draw("2.4.0", 1.0, 4.0))
    return story


def thin_traffic() -> Story:
    """A handful of sessions an hour can not be called healthy, nor bad."""
    return harm(Story(window_s=60, sessions=4.0), 40, 1.0)


def lost_usage() -> Story:
    """The canary's usage telemetry breaks while its errors go on."""
    story = harm(Story(rate=0.05), 6, 1.0)

    def broken() -> list[Event]:
        events = story.split(0.3)
        return [e for e in events if e["release"] == "2.3.1" or e["kind"] == "error"]

    story.run(20, broken)
    story.run(12, lambda: story.split(0.3))
    return story


def inferred() -> Story:
    """Nobody announced the bad release: watched, never rolled back."""
    story = Story(window_s=60)
    story.run(15, story.old)
    story.run(20, lambda: story.split(0.3, 8.0))
    return story


def outage() -> Story:
    """A dependency fails for both releases: nobody's fault."""
    story = harm(Story(), 10, 1.0)
    story.run(30, lambda: story.split(0.3, both=15.0))
    story.run(10, lambda: story.split(0.3))
    return story


def early_adopters() -> Story:
    """Beta users fail more on any release and try the new one first."""
    story = Story(sessions=500.0)
    beta, rest = {"region": "beta"}, {"region": "all"}

    def before() -> list[Event]:
        return [
            *story.draw("2.3.1", 0.3, 8.0, attrs=beta),
            *story.draw("2.3.1", 1.0, attrs=rest),
        ]

    def after() -> list[Event]:
        return [
            *story.draw("2.3.1", 0.1, 8.0, attrs=beta),
            *story.draw("2.4.0", 0.2, 8.0, attrs=beta),
            *story.draw("2.3.1", 0.95, attrs=rest),
            *story.draw("2.4.0", 0.05, attrs=rest),
        ]

    story.run(6, before)
    story.deploy(predecessor="2.3.1", strategy="canary")
    story.run(60, after)
    return story


def sampled() -> Story:
    """The new release sends a tenth of its usage and half of its errors."""
    story = Story(sessions=2000.0)

    def thinned() -> list[Event]:
        found = []
        for event in story.split(0.3):
            share = {"usage": 0.1, "error": 0.5}[event["kind"]]
            if event["release"] == "2.4.0":
                event |= {
                    "sample_rate": share,
                    "count": int(story.rng.binomial(event["count"], share)),
                    "sessions": int(story.rng.binomial(event["sessions"], share)),
                }
            found.append(event)
        return found

    story.run(6, story.old)
    story.deploy(predecessor="2.3.1", strategy="canary")
    story.run(60, thinned)
    return story


def requests_only() -> Story:
    """A service without sessions counts requests, whose failures come in bursts."""
    story = Story(sessions=2000.0)

    def requests(factor: float) -> list[Event]:
        events = story.old() if not factor else story.split(0.3, factor)
        return [{k: v for k, v in e.items() if k != "sessions"} for e in events]

    story.run(6, lambda: requests(0.0))
    story.deploy(predecessor="2.3.1", strategy="canary")
    story.run(60, lambda: requests(8.0))
    return story


def mobile() -> Story:
    """A phased store release is halted; at 100 % only a fix helps."""
    story = harm(Story(), 30, strategy="mobile", weight=0.3)
    story.deploy(phase="progressed", strategy="mobile", weight=1.0)
    story.run(8, lambda: story.split(0.9, 6.0))
    return story


def forbidden() -> Story:
    """A schema change can not go back, whatever later ramp steps leave out."""
    story = harm(Story(), 8, change="schema", rollback="forbidden")
    story.deploy(phase="progressed", weight=0.3)
    story.run(25, lambda: story.split(0.3, 6.0))
    return story


def odd_clocks() -> Story:
    """Records from the past and the future beside good ones."""
    story = Story()

    def with_strays() -> list[Event]:
        events = story.split(0.3)
        for event in story.split(0.3, 50.0):
            shift = -3_600_000 if event["release"] == "2.3.1" else 3_600_000
            events.append({**event, "ts": event["ts"] + shift})
        return events

    story.run(6, story.old)
    story.deploy(predecessor="2.3.1", strategy="canary")
    story.run(40, with_strays)
    return story


def blip() -> Story:
    """Three minutes of errors right after the deploy, then as good as before."""
    story = harm(Story(), 18, 5.0)
    story.run(60, lambda: story.split(0.3))
    return story


def _with_components(before: str | None) -> Story:
    """A release brings a cart and a search; only its cart does harm.

    ``before`` is the version of the cart that ran before it, if there was one.
    """
    story = Story(sessions=600.0)
    names = ("cart", "search")
    old = {"cart": before, "search": "2"} if before else {}
    new = {"cart": "7", "search": "3"}

    def draw(
        release: str, versions: dict[str, str | None], share: float, bad: float = 1.0
    ) -> list[Event]:
        found = story.draw(release, 0.6 * share)
        for name in names:
            if version := versions.get(name):
                about = {"component": name, "component_version": version}
                factor = bad if name == "cart" else 1.0
                found += story.draw(release, 0.4 * share, factor, **about)
        return found

    story.deploy("2.3.1", **({"components": old} if old else {}))
    story.run(6, lambda: draw("2.3.1", old, 1.0))
    story.deploy(predecessor="2.3.1", strategy="canary", weight=0.3, components=new)
    story.run(35, lambda: [*draw("2.3.1", old, 0.7), *draw("2.4.0", {**new}, 0.3, 8.0)])
    story.deploy(phase="withdrawn", component="cart")
    rest: dict[str, str | None] = {"search": "3"}
    story.run(24, lambda: [*draw("2.3.1", old, 0.7), *draw("2.4.0", rest, 0.3)])
    return story


def component_withdrawn() -> Story:
    """A release brings a new component that does harm: it is taken out, no more."""
    return _with_components(None)


def component_replaced() -> Story:
    """A release brings a worse version of a component: the old one is put back."""
    return _with_components("6")


def stacked() -> Story:
    """A fix of a bad release is as bad: the way back leads to what was before both."""
    story = harm(Story(sessions=1200.0), 35)
    story.deploy("2.4.1", predecessor="2.4.0", strategy="canary", weight=0.3)

    def three() -> list[Event]:
        return [*story.split(0.3, 6.0), *story.draw("2.4.1", 0.3, 6.0)]

    story.run(35, three)
    return story


def healthy() -> Story:
    """An hour of good service with enough traffic earns the word."""
    return harm(Story(window_s=60, sessions=12_000.0, rate=0.02), 75, 0.9)


INCIDENTS: dict[str, Callable[[], Story]] = {
    made.__name__: made
    for made in (
        segment_canary,
        rollback,
        recovery,
        bluegreen,
        thin_traffic,
        lost_usage,
        inferred,
        outage,
        early_adopters,
        sampled,
        requests_only,
        mobile,
        forbidden,
        odd_clocks,
        blip,
        component_withdrawn,
        component_replaced,
        stacked,
        healthy,
    )
}
