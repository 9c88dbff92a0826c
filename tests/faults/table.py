"""The fault table: number, what is done, how often, and what is still good."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from streams.kafka_local import LocalKafka
from tests.faults import rows_data, rows_workers
from tests.faults.checker import Findings
from tests.faults.scene import Scene, scene
from tests.faults.traffic import Change, Plan


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of the fault table.

    Attributes
    ----------
    what : str
        What is done, for people.
    act : callable
        Does it to a scene, a number of times.
    counts : tuple
        How often inside one run: in the tests, and in full.
    runs : int
        How many runs, each with a seed of its own, make the full count.
    after : callable
        Looks at topics and pages when all is over.
    change : callable or None
        Changes what the sender sends.
    fresh_max_s, peak_max_mb : float
        Limits.
    """

    what: str
    act: Callable[[Scene, int], None]
    counts: tuple[int, int] = (1, 1)
    runs: int = 1
    nodes: int = 1
    plan: Plan = field(default_factory=lambda: Plan(seed=0))
    after: Callable[[Scene], None] = lambda _: None
    change: Callable[[Plan], Change] | None = None
    fresh_max_s: float = 30.0
    peak_max_mb: float = 512.0

    def run(
        self, kafka: LocalKafka, folder: Path, *, name: str, seed: int, count: int
    ) -> tuple[Findings, list[str]]:
        """Run it once; return what was found and what is wrong with it."""
        plan = replace(self.plan, seed=seed)
        change = None if self.change is None else self.change(plan)
        with scene(kafka, folder, name, plan, change) as made:
            self.act(made, count)
            found = made.finish(self.after)
        limits = {"fresh_max_s": self.fresh_max_s, "peak_max_mb": self.peak_max_mb}
        return found, found.faults(**limits)


SLOW = Plan(seed=0, pace_s=0.15)
"""Long enough for three workers one after the other."""

ROWS: dict[str, Row] = {
    "1": Row(
        what="kill -9 of the worker inside a window",
        act=rows_workers.kill_worker,
        counts=(3, 10),
        runs=10,
        plan=replace(SLOW, windows=400, parts=4),
    ),
    "1i": Row(
        what="the same through the ingress topics",
        act=rows_workers.kill_worker,
        counts=(3, 10),
        runs=3,
        plan=replace(SLOW, windows=400, ingress=True),
    ),
    "2": Row(
        what="SIGTERM under load",
        act=rows_workers.stop_worker,
        counts=(2, 10),
        runs=5,
        plan=replace(SLOW, windows=400),
    ),
    "10": Row(
        what="an event from ten years ahead",
        act=rows_data.poisoned_time,
        runs=20,
        after=rows_data.poisoned_time_after,
        change=rows_data.poison,
    ),
    "11": Row(
        what="10 % copies, 30 % a window late, 1 % beyond lateness",
        act=rows_data.disordered,
        runs=20,
        after=rows_data.disordered_after,
        change=rows_data.disorder,
    ),
}
