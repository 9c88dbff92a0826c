"""Rows about what is sent: times from the future, copies, disorder, too late."""

from __future__ import annotations

import json
from collections.abc import Iterator

from detector.engine import Partition
from detector.records import LogRecord
from detector.rulefile import load_rules
from detector.simulate import Record
from detector.wire import RECOMMENDATIONS, VERDICTS
from streams.wallclock import now_ms
from tests.faults import golden
from tests.faults.scene import Scene
from tests.faults.traffic import BAD, BESIDE, Change, Plan, seeded
from tests.integration.detecting import START_MS

TEN_YEARS_MS = 10 * 365 * 86_400_000
POISON_AT = 10

COPIES, SHUFFLED, LATE = 0.10, 0.30, 0.01
LATE_WINDOWS = 20
"""Twenty windows back: beyond grace and everything that waits for slow senders."""


def poison(plan: Plan) -> Change:
    """One event of the bad service from ten years ahead."""

    def change(index: int, records: list[Record]) -> list[Record]:
        if index != POISON_AT:
            return records
        model = next(r for r in records if r["service"] == BAD and "sessions" in r)
        ahead = {**model, "id": "poison", "ts": now_ms() + TEN_YEARS_MS, BESIDE: True}
        return [ahead, *records]

    return change


def poisoned_time(scene: Scene, _: int) -> None:
    """Row 10: refused to the dead letters; the watermark stays; detection goes on."""
    scene.start("w0")
    scene.ready("w0")
    scene.at_window(3 * POISON_AT)
    scene.heal("the poison is read")
    latest_ms = scene.traffic.start_ms + scene.plan.windows * 10_000
    marks = [s["watermark_ms"] for s in services(scene)]
    scene.want(max(marks) <= latest_ms, f"the watermark is {max(marks)}")


def poisoned_time_after(scene: Scene) -> None:
    """Look at the dead letters and at what was decided."""
    letters = [json.loads(r.value) for r in scene.made.read("deadletter")]
    scene.want([x["reason"] for x in letters] == ["future"], f"dead letters: {letters}")
    scene.want_decisions(undisturbed(scene.plan))


def services(scene: Scene) -> Iterator[dict[str, object]]:
    """What the pages say of each service."""
    for _, body in scene.pages("/v1/status"):
        yield from json.loads(body)["services"]


def disorder(plan: Plan) -> Change:
    """Copies in the next window, parts held back for one, others far too late."""
    chance = seeded(plan.seed, "disorder")
    held: list[Record] = []
    copies: list[Record] = []

    def change(index: int, records: list[Record]) -> list[Record]:
        out = [*held, *copies]
        held.clear()
        copies.clear()
        for record in records:
            if record["kind"] == "deploy":
                out.append(record)
                continue
            last = index == plan.windows - 1
            (held if not last and chance.random() < SHUFFLED else out).append(record)
            if not last and chance.random() < COPIES:
                copies.append(record)
            if index > LATE_WINDOWS and chance.random() < LATE:
                back = record["ts"] - LATE_WINDOWS * plan.window_s * 1000
                name = f"late-{record['id']}"
                out.append({**record, "ts": back, "id": name, BESIDE: True})
        chance.shuffle(out)
        # A release is announced before it is used.
        return sorted(out, key=lambda r: r["kind"] != "deploy")

    return change


def disordered(scene: Scene, _: int) -> None:
    """Row 11: 10 % copies, 30 % a window late, 1 % beyond lateness."""
    scene.start("w0")
    scene.ready("w0")


def disordered_after(scene: Scene) -> None:
    """Copies and late ones are counted as such, and nothing else changes."""
    live = golden.live_partitions(scene.made).values()
    scopes = [scope for partition in live for scope in partition.scopes.values()]
    late, copies = sum(s.late for s in scopes), sum(s.duplicates for s in scopes)
    events = sum(len(fact["events"]) for fact in scene.history.all("sent"))
    scene.notes.append(f"{copies} copies and {late} late ones of {events} recognised")
    scene.want(copies > 0.05 * events, f"only {copies} copies recognised")
    scene.want(late > 0.005 * events, f"only {late} late ones counted")
    scene.want_decisions(undisturbed(scene.plan))


def undisturbed(plan: Plan) -> dict[str, list[tuple[object, ...]]]:
    """What one process decides about the plan as it stands."""
    partition = Partition(0, load_rules(plan.rules, source="faults"))
    begun_ms = now_ms()
    said = []
    for offset, records in enumerate(plan.records(START_MS)):
        # It arrives as it was sent: at another pace than that of its own times.
        arrival_ms = begun_ms + round(offset * plan.pace_s * 1000)
        record = LogRecord(offset, arrival_ms, None, json.dumps(records).encode())
        for output in partition.apply([record]).records:
            if output.topic in (VERDICTS, RECOMMENDATIONS):
                said.append(output.value)
    return golden.decisions(said)
