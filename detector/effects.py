"""What each action that is possible would spare, as numbers.

The excess of the last minutes goes on until something is done about it: that many
units a minute fail that would not have. What only keeps more units from coming spares
none of those that are there.
"""

from __future__ import annotations

from detector.harm import Harm, harm_within
from detector.history import Block
from detector.releases import Release
from detector.scope import Scope, Watch
from detector.target import Way, is_ramping
from detector.verdicts import Action, Effect
from detector.wording import count_text

RECENT_MS = 300_000
"""How far back the present harm is measured: short enough to be the present one."""

MINUTE_MS = 60_000
STOPS_GROWTH = (Action.HOLD, Action.HALT)
STOPS_NOTHING = (Action.WATCH, Action.INVESTIGATE, Action.CONTINUE)


def effects_of(
    scope: Scope, watch: Watch, release: Release, way: Way, harm: Harm, now_ms: int
) -> tuple[Effect, ...]:
    """The recommended action, then the others that are possible, smallest first.

    Units a minute that would fail and are spared once the action is carried out; of a
    fix, once it is shipped.
    """
    inside = _excess_per_min(scope, watch, harm, way.component, now_ms)
    whole = inside
    if way.component is not None:
        whole = max(inside, _excess_per_min(scope, watch, harm, None, now_ms))
    spared = inside
    if way.action in (*STOPS_GROWTH, *STOPS_NOTHING):
        spared = 0.0
    first = Effect(way.action, way.target, _short(spared), harm.unit)
    others = [
        Effect(action, None, _short(0.0 if action is Action.HOLD else whole), harm.unit)
        for action in _others(release, way)
    ]
    return (first, *others)


def effect_text(harm: Harm, effect: Effect) -> str:
    """The same in words, beside the share of all failures."""
    if harm.counts[1] <= 0:
        return "none known"
    share = max(0.0, harm.excess) / harm.counts[1]
    text = f"about {share:.0%} of its failed {harm.unit}s would not have failed"
    if effect.spared_per_min >= 1.0:
        text += f", some {count_text(effect.spared_per_min)} a minute by now"
    return text


def _others(release: Release, way: Way) -> list[Action]:
    """Further actions that stop or confine the harm."""
    if release.inferred:
        return []
    possible = [Action.HOLD] if is_ramping(release) else []
    if way.component is not None and release.rollback != "forbidden":
        possible.append(Action.ROLLBACK)
    possible.append(Action.HOTFIX)
    return [action for action in possible if action is not way.action]


def _excess_per_min(
    scope: Scope, watch: Watch, harm: Harm, component: str | None, now_ms: int
) -> float:
    """Failed units a minute beyond what is to be expected, over the last minutes."""
    since_ms = max(harm.onset_ms, now_ms - RECENT_MS)
    recent = harm_within(scope, watch, harm, component, since_ms)
    if recent is None:
        return (
            max(0.0, harm.excess) * MINUTE_MS / max(MINUTE_MS, now_ms - harm.onset_ms)
        )
    history = watch.parts.errors if component else watch.tracks[harm.signal].history
    span_ms = now_ms - _begin_ms(history.blocks, since_ms)
    return max(0.0, recent.excess) * MINUTE_MS / span_ms if span_ms > 0 else 0.0


def _begin_ms(blocks: list[Block], since_ms: int) -> int:
    """Start of the oldest block that reaches beyond a time."""
    return next((b.start_ms for b in blocks if b.end_ms > since_ms), since_ms)


def _short(value: float) -> float:
    return float(f"{value:.6g}")
