"""What a candidate is compared with in a window, when several changes are under watch.

Two arms that differ in more than the candidate say nothing about it. A component is
laid beside units of the same main release that run the same other components, a main
release beside others with the same components; where too few such units exist, beside
units that share less (``detector.mix``). Levels follow from exposures alone, so the
evidence of every level is valid; what a looser level can not tell apart is named.
"""

from __future__ import annotations

from types import ModuleType
from typing import NamedTuple

from detector.arms import Layout, Sorter, release_of
from detector.changes import Component, Group, is_told
from detector.history import Counts
from detector.mix import Mix
from detector.releases import Registry, Release, Stage
from detector.scope import Scope, Watch
from detector.signals.census import Aside
from detector.signals.errors import Comparison, Known, WindowFacts
from detector.signals.table import ERRORS
from detector.windows import OpenWindow

UNTOLD_MAX = 10.0
"""Expected failures of a component after which it is clear that records of failures
do not say which components they ran."""

Apart = dict[Group, OpenWindow]

KIND_OF = {"errors": "error", "feedback": "feedback"}
"""Signals whose failures come in records of another kind than their units."""


class Plan(NamedTuple):
    """Every pair of arms of a candidate in one window.

    ``whole`` is the window as it is; ``apart`` are the pairs of the present level,
    None where the whole is what is compared.
    """

    release: Release
    whole: Layout
    apart: list[Layout] | None
    told: dict[str, bool]

    def of(self, signal: str) -> list[Layout]:
        """The pairs of arms that a signal compares."""
        if self.apart is None:
            return [self.whole]
        if signal in KIND_OF and not self.told[KIND_OF[signal]]:
            return [] if self.release.component else [self.whole]
        return self.apart


class Rivals(NamedTuple):
    """Candidates that a looser comparison can not tell from this one.

    ``leader`` is the one of them that explains the harm: it has an open
    recommendation, or was just taken back. ``pooled``: the present evidence is of the
    looser kind.
    """

    names: tuple[str, ...]
    leader: str | None
    pooled: bool


def rivals_of(scope: Scope, watch: Watch) -> Rivals:
    """Who else may have done what a candidate's units show.

    Those under watch that the candidate's units run more often than its control's,
    and that are not found healthy.
    """
    pooled = watch.mix.level > 0
    names: list[str] = []
    leaders: list[str] = []
    for number in watch.mix.differing():
        release = release_of(scope.registry, number)
        other = scope.watches.get(release.name) if release else None
        if release is not None and release.stage is Stage.ENDED:
            leaders.append(release.name)
        if release is None or other is None or release.stage is not Stage.CANDIDATE:
            continue
        if other.episode is not None:
            leaders.append(release.name)
        if other.published is None or other.published.verdict != "healthy":
            names.append(release.name)
    return Rivals(tuple(names), leaders[0] if leaders else None, pooled)


def plan_of(
    scope: Scope,
    watch: Watch,
    release: Release,
    window: OpenWindow,
    apart: Apart,
    groups: list[list[int]],
) -> tuple[Plan, bool]:
    """The pairs of arms of a candidate; whether its evidence so far is to be dropped.

    It is once arms can be told apart after all, and once a change that they could not
    be told from has ended: what was seen before may be that change's doing.
    """
    whole = Layout(scope, window, groups)
    live = [c for c in scope.changes.watched if c.from_ms < window.end_ms]
    own = next((c for c in live if c.number == release.number), None)
    told = {
        kind: own is not None and _is_told(scope, own, kind, window.end_ms)
        for kind in KIND_OF.values()
    }
    if own is None:
        live = [c for c in live if _is_told(scope, c, "error", window.end_ms)]
        told["error"] = True
    drop = _forget_ended(scope.registry, watch.mix)
    carried = any(_carries(group, live) for group in apart)
    if not live or not (watch.mix.joint or carried):
        watch.mix = Mix()
        return Plan(release, whole, None, told), drop
    sorter = Sorter(scope, release, own, live, groups)
    sorter.take(window, apart)
    drop |= watch.mix.note(sorter.exposures())
    if own is None and watch.mix.level > 0:
        return Plan(release, whole, None, told), drop
    layouts = sorter.layouts(window.end_ms, watch.mix.level)
    if own is not None and any(number == own.number for number, _ in window.cells):
        layouts = [whole, *layouts]
    return Plan(release, whole, layouts, told), drop


def compare_errors(
    plan: Plan, watch: Watch, aside: Aside
) -> tuple[list[Comparison], WindowFacts]:
    """Failures of a candidate beside its control, over all pairs of arms."""
    found: list[Comparison] = []
    each = [WindowFacts(0.0, 0, 0, 0.0, 0.0, 0, 0)]
    for layout in plan.apart if plan.apart is not None else [plan.whole]:
        odd = aside if layout is plan.whole or not plan.release.component else {}
        known = Known(
            layout.scope.error_rates, layout.scope.health, watch.errors.hits, odd
        )
        some, seen = ERRORS.compare(layout.window, plan.release, layout.groups, known)
        found += some
        each.append(seen)
        if plan.release.component and layout is not plan.whole:
            _note_hits(watch.mix, layout.window, plan.release.number)
    facts = WindowFacts(*(sum(column) for column in zip(*each, strict=True)))
    if plan.apart is None or plan.told["error"]:
        return found, facts
    watch.mix.untold += sum(
        c.units_candidate * c.bad_control / c.units_control
        for c in found
        if c.units_control > 0
    )
    return [], facts._replace(mismatched_strata=int(watch.mix.untold >= UNTOLD_MAX))


def _note_hits(mix: Mix, window: OpenWindow, number: int) -> None:
    for (arm, stratum), cell in sorted(window.cells.items()):
        other = window.cells.get((-number, stratum))
        if arm == number and other is not None:
            mix.note_hits(cell, other)


def compare_signal(
    plan: Plan, signal: ModuleType
) -> list[tuple[str, list[Comparison]]]:
    """Another signal's tracks over all pairs of arms."""
    found: dict[str, list[Comparison]] = {}
    for layout in plan.of(signal.NAME):
        for name, each in signal.compare(
            layout.scope, layout.window, plan.release, layout.groups
        ):
            found.setdefault(name, []).extend(each)
    return list(found.items())


def sole_component(scope: Scope) -> int | None:
    """Number of the component that all units run, if nothing else is under judgement.

    Nothing runs beside it, so it is compared with the past: what the service does from
    now on is noted as its doing. The newest one, as it is what has changed.
    """
    alone = None
    for release in scope.registry.candidates():
        watch = scope.watches.get(release.name)
        if release.component is None:
            return None
        if watch is not None and watch.mix.joint and watch.control_lost_ms >= 0:
            alone = release.number
    return alone


def by_stratum(comparisons: list[Comparison]) -> dict[int, Counts]:
    """Counts of both arms by stratum, whatever changes they run there."""
    found: dict[int, Counts] = {}
    for c in comparisons:
        before = found.get(c.stratum, (0.0, 0.0, 0.0, 0.0))
        found[c.stratum] = (
            before[0] + c.units_candidate,
            before[1] + c.bad_candidate,
            before[2] + c.units_control,
            before[3] + c.bad_control,
        )
    return found


def _carries(group: Group, live: list[Component]) -> bool:
    return any(c.number in group[1] for c in live)


def _is_told(scope: Scope, one: Component, kind: str, end_ms: int) -> bool:
    """Whether failures say which components they ran; there may be no such records."""
    if kind == "error" and "errors" not in scope.last_event_ms:
        return True
    return is_told(scope.changes, one.name, kind, end_ms)


def _forget_ended(registry: Registry, mix: Mix) -> bool:
    """Forget shares of changes that are over; whether evidence was mixed with them."""
    mixed = mix.level > 0 and set(mix.differing())
    gone = set()
    for number in mix.carried:
        release = release_of(registry, number)
        if release is None or release.stage is not Stage.CANDIDATE:
            gone.add(number)
    for number in gone:
        del mix.carried[number]
    return bool(mixed and mixed & gone)
