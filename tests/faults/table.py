"""The fault table: number, what is done, how often, and what is still good."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from streams.kafka_local import Extras, Listener, LocalKafka, free_ports
from tests.faults import rows_brokers, rows_data, rows_input, rows_workers
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
    proxied: bool = False
    plan: Plan = field(default_factory=lambda: Plan(seed=0))
    after: Callable[[Scene], None] = lambda _: None
    change: Callable[[Plan], Change] | None = None
    fresh_max_s: float = 30.0
    peak_max_mb: float = 512.0

    def cluster(self, folder: Path, version: str) -> LocalKafka:
        """The cluster the row wants, not started."""
        port = free_ports(2 * self.nodes + 2)
        spare = port + 2 * self.nodes
        listener = Listener("PROXIED", spare, advertised_port=spare + 1)
        return LocalKafka(
            folder,
            version=version,
            port=port,
            nodes=self.nodes,
            tied=True,
            extras=Extras((listener,)) if self.proxied else None,
        )

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

LIVE = Plan(
    seed=0,
    windows=100_000,
    window_s=2,
    live=True,
    ingress=True,
    sessions=1500.0,
    deploy_at=3,
    harm_at=6,
    harm=8.0,
    grace_s=5,
    persistence_s=10,
)
"""In real time: workers tick, and two seconds are a window."""

LONG = replace(SLOW, pace_s=0.12, windows=100_000)
"""Goes on until the row has done what it does."""

OUTAGE = replace(LONG, pace_s=0.5)
"""For rows that keep workers from reading for minutes. They read what has piled up with
what they can do beyond what still comes: sent at 80 windows of each service a time that
life takes for one, 120 s of it took 40, whatever had been wrong. Here it is 20."""

ROWS: dict[str, Row] = {
    "1": Row(
        what="kill -9 of the worker inside a window",
        act=rows_workers.kill_worker,
        counts=(3, 10),
        runs=10,
        plan=LONG,
    ),
    "1i": Row(
        what="the same through the ingress topics",
        act=rows_workers.kill_worker,
        counts=(3, 10),
        runs=3,
        plan=replace(LONG, ingress=True),
    ),
    "2": Row(
        what="SIGTERM under load",
        act=rows_workers.stop_worker,
        counts=(2, 10),
        runs=5,
        plan=LONG,
    ),
    "3": Row(
        what="kill -9 between state, recommendation and mark",
        act=rows_workers.die_at_points,
        runs=50,
        plan=replace(SLOW, pace_s=0.06),
    ),
    "4": Row(
        what="one of three nodes: SIGSTOP 45 s, kill -9, SIGTERM in turn",
        act=rows_brokers.lose_node,
        counts=(3, 6),
        runs=10,
        nodes=3,
        plan=LONG,
    ),
    "5": Row(
        what="all nodes killed (times: seconds away)",
        act=rows_brokers.lose_all,
        counts=(20, 300),
        runs=5,
        nodes=3,
        plan=replace(OUTAGE, pace_s=1.0),
        fresh_max_s=60.0,
    ),
    "6": Row(
        what="workers join and leave every 2 s (times: seconds)",
        act=rows_workers.storm,
        counts=(20, 300),
        runs=10,
        plan=OUTAGE,
    ),
    "7": Row(
        what="a stopped worker wakes up behind its heir",
        act=rows_workers.zombie,
        runs=20,
        plan=LONG,
    ),
    "8": Row(
        what="the way to the broker: cut, black hole, deaf; 5, 30, 120 s",
        act=rows_brokers.cut_off,
        counts=(3, 9),
        runs=3,
        proxied=True,
        plan=OUTAGE,
    ),
    "9": Row(
        what="the worker's clock: -2 h, +3 h, +10 y, right, +10 y",
        act=rows_input.jumping_clock,
        after=rows_input.jumping_clock_after,
        runs=5,
        plan=LIVE,
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
    "13": Row(
        what="nothing but rubbish (times: seconds)",
        act=rows_input.rubbish,
        counts=(1, 60),
        runs=5,
        plan=LONG,
        after=rows_input.rubbish_after,
    ),
    "14": Row(
        what="the dead letter topic refuses",
        act=rows_input.no_letters,
        runs=5,
        plan=LONG,
        after=rows_input.no_letters_after,
    ),
    "15": Row(
        what="900 kB in a message; bombs of gzip, zstd, lz4, snappy (times: topics)",
        act=rows_input.bombs,
        counts=(1, 2),
        runs=5,
        plan=LONG,
        after=rows_input.bombs_after,
    ),
    "16": Row(
        what="made-up releases, scraped meanwhile; also row 17 (times: releases)",
        act=rows_input.flood,
        counts=(10_000, 1_000_000),
        plan=replace(SLOW, windows=130),
        after=rows_input.flood_after,
    ),
    "28": Row(
        what="load (times: minutes)",
        act=rows_input.soak,
        counts=(1, 30),
        plan=replace(LIVE, parts=4),
    ),
}
