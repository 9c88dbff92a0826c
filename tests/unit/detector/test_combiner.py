"""Combiners: single events of a hot service and their aggregates say the same."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import msgspec
import pytest

from detector.combiner import Combiner
from detector.combiner.blocks import (
    all_blocks,
    dirty_blocks,
    mark_clean,
    restore,
)
from detector.combiner.memory import PIECE, Memory
from detector.combiner.scopes import CELLS_MAX
from detector.engine import Partition
from detector.records import LogRecord, Output
from detector.simulate import Shop, burst, ramp
from detector.state import StateError
from detector.verdicts import RecommendationRecord, VerdictRecord
from tests.unit.detector.combining import (
    KEY,
    START_MS,
    Event,
    Timed,
    combined,
    log_of,
    members,
    tick,
    traffic,
    with_ticks,
)
from tests.unit.detector.traffic import QUICK

BAD = Shop(sessions_per_window=400, weight=ramp([(6, 0.4)]), harm=burst(12, 1000, 6.0))


def run(
    timed: list[Timed], *, in_groups: bool = True
) -> tuple[Partition, list[Output]]:
    """The detector on a log."""
    partition = Partition(0, QUICK)
    partition.in_groups = in_groups
    return partition, partition.apply(log_of(timed)).records


def verdicts(outputs: list[Output]) -> list[VerdictRecord]:
    return [
        msgspec.json.decode(o.value, type=VerdictRecord)
        for o in outputs
        if o.topic == "verdicts"
    ]


def recommended(outputs: list[Output]) -> list[tuple[str, str, str]]:
    found = [
        msgspec.json.decode(o.value, type=RecommendationRecord)
        for o in outputs
        if o.topic == "recommendations"
    ]
    return [(r.id, r.action, r.state) for r in found]


def course(outputs: list[Output]) -> list[tuple[Any, ...]]:
    """What was said of which window, with units, failures and ratios."""
    return [
        (
            v.verdict,
            v.reasons,
            v.window_end,
            [
                (e.signal, e.unit, e.candidate, e.control_arm, e.rate_ratio)
                for e in v.evidence
            ],
        )
        for v in verdicts(outputs)
    ]


def single(n: int, at_ms: int, kind: str = "usage", **more: Any) -> Event:
    """A request of session ``n``."""
    return {
        "kind": kind,
        "ts": at_ms,
        "service": "shop",
        "release": "1.0.0",
        "session": f"s{n}",
        "id": f"{kind}-{n}",
        **more,
    }


def sent_by(combiner: Combiner, timed: list[Timed]) -> list[Event]:
    """What a combiner sends of a log that goes on where it stands."""
    found = []
    for ms, event in timed:
        value = json.dumps(event).encode()
        record = LogRecord(combiner.next_offset, ms, None, value)
        for output in combiner.apply([record]).records:
            found += members(output)
    return found


def closing(after_ms: int) -> list[Timed]:
    return [(after_ms, tick(after_ms))]


def counted(lines: list[Event], kind: str = "usage") -> int:
    return sum(line["count"] for line in lines if line["kind"] == kind)


def test_combined_verdicts_are_the_same() -> None:
    """Four combiners and no combiner: the same verdicts of the same windows, with the
    same units, failures and ratios, and one recommendation under the same id."""
    raw = with_ticks(traffic(BAD, 30, 1))
    _, alone = run(raw)
    partition, shared = run(combined(raw))
    assert course(shared) == course(alone)
    assert recommended(shared) == recommended(alone)
    assert [action for _, action, _ in recommended(shared)] == ["rollback"]
    assert partition.counts["counted"] < len(raw) / 8


def test_combined_harmless_stays_calm() -> None:
    """An outage of everybody is no regression, combined or not."""
    shop = Shop(weight=ramp([(6, 0.3)]), ambient=burst(15, 22, 8.0))
    raw = with_ticks(traffic(shop, 30, 2))
    _, alone = run(raw)
    _, shared = run(combined(raw, 3))
    assert course(shared) == course(alone)
    assert recommended(shared) == recommended(alone) == []


def requests(timed: list[Timed]) -> list[Timed]:
    """The same sessions with three requests each, the last of which tells the end."""
    found: list[Timed] = []
    for ms, event in timed:
        if event["kind"] != "usage":
            found.append((ms, event))
            continue
        failed = event["session"][-1] == "7"
        for n in range(3):
            outcome = "timeout" if failed and n == 2 else "ok"
            more = {"unit": "request", "id": f"{event['id']}-{n}", "outcome": outcome}
            found.append((ms, {**event, **more, "duration_ms": 40.0 * (n + 1)}))
    return found


def test_combined_requests_tell_sessions() -> None:
    """Requests that fail after others of their session: units, failures and ratios of
    errors and of durations are those of the single events."""
    raw = with_ticks(requests(traffic(BAD, 20, 3)))
    last = verdicts(run(raw)[1])[-1]
    same = [
        v for v in verdicts(run(combined(raw))[1]) if v.window_end == last.window_end
    ]
    told = {(e.signal, str(e.segment)): e for v in same for e in v.evidence}
    kept = [e for e in last.evidence if e.signal in ("errors", "latency")]
    assert kept
    for evidence in kept:
        other = told[evidence.signal, str(evidence.segment)]
        assert (other.unit, other.candidate) == (evidence.unit, evidence.candidate)
        assert other.control_arm == evidence.control_arm


def test_slow_combiner_is_waited_for() -> None:
    """A combiner that is away for five minutes loses nothing and changes no verdict."""
    raw = with_ticks(traffic(BAD, 30, 1), seconds=300)
    _, alone = run(raw)
    away = (START_MS + 90_000, START_MS + 390_000)
    partition, shared = run(combined(raw, away=away))
    (scope,) = partition.scopes.values()
    assert scope.late == 0
    assert course(shared) == course(alone)
    first = min(v.decided_at for v in verdicts(shared) if v.window_end > away[0])
    assert first >= away[1]


def test_dead_combiner_is_forgotten() -> None:
    """A combiner that is silent for a quarter of an hour stops nobody any more."""
    partition = Partition(0, QUICK)
    said = {**tick(START_MS), "service": "shop"}
    partition.apply(log_of([(START_MS, single(1, START_MS))]))
    (scope,) = partition.scopes.values()

    def tell(at_s: int, event: Event) -> None:
        at_ms = START_MS + at_s * 1000
        value = json.dumps({**event, "ts": at_ms}).encode()
        partition.apply([LogRecord(partition.next_offset, at_ms, None, value)])

    tell(10, {**said, "sender": "combiner/0"})
    tell(20, {**said, "sender": "combiner/1"})
    tell(600, {**said, "sender": "combiner/1"})
    assert scope.watermark_ms == START_MS + 10_000
    tell(920, {**said, "sender": "combiner/1"})
    assert scope.watermark_ms == START_MS + 920_000
    assert set(scope.combined) == {"combiner/1"}


def test_combiner_that_starts_late_is_waited_for() -> None:
    """The first of them to be heard tells of one that still reads the backlog."""
    raw = with_ticks(traffic(BAD, 30, 1), seconds=300)
    _, alone = run(raw)
    away = (START_MS, START_MS + 90_000)
    partition, shared = run(combined(raw, away=away))
    (scope,) = partition.scopes.values()
    assert scope.late == 0
    assert course(shared) == course(alone)
    assert min(v.decided_at for v in verdicts(shared)) >= away[1]


def test_combiner_without_a_session_is_given_up() -> None:
    """One that nobody has heard of stops a service for two minutes, once."""
    partition = Partition(0, QUICK)
    partition.apply(log_of([(START_MS, single(1, START_MS))]))
    (scope,) = partition.scopes.values()
    said = {**tick(START_MS), "service": "shop", "sender": "combiner/1", "senders": 3}
    reached = []
    for at_s in (10, 60, 120, 140, 150):
        at_ms = START_MS + at_s * 1000
        value = json.dumps({**said, "ts": at_ms}).encode()
        partition.apply([LogRecord(partition.next_offset, at_ms, None, value)])
        reached.append(scope.watermark_ms - START_MS)
    assert reached[:3] == reached[:1] * 3
    assert reached[3:] == [140_000, 150_000]


def test_groups_respect_combiners() -> None:
    """Single events beside combined ones, in groups and one by one: the same bytes."""
    raw = traffic(BAD, 12, 5)
    beside = combined(with_ticks(raw, 30))
    mixed = sorted([*raw, *beside], key=lambda timed: timed[0])
    ours, theirs = run(mixed), run(mixed, in_groups=False)
    assert ours[1] == theirs[1]
    assert ours[0].counts == theirs[0].counts


def test_copies_are_combined_once() -> None:
    """An event that comes again, at once or minutes later, is in one aggregate."""
    combiner = Combiner(0, KEY)
    timed = [(START_MS + n, single(n % 50, START_MS + n % 50)) for n in range(150)]
    lines = sent_by(combiner, [*timed, *closing(START_MS + 30_000)])
    again = [(START_MS + 200_000, event) for _, event in timed]
    lines += sent_by(combiner, [*again, *closing(START_MS + 260_000)])
    assert counted(lines) == 50
    assert combiner.counts["duplicate"] == 250


def test_late_event_is_another_part() -> None:
    """What comes after its window was sent follows under an id of its own."""
    combiner = Combiner(0, KEY)
    lines = sent_by(combiner, [(START_MS + 5, single(1, START_MS + 5))])
    lines += sent_by(combiner, closing(START_MS + 20_000))
    late = single(2, START_MS + 9)
    lines += sent_by(combiner, [(START_MS + 21_000, late)])
    lines += sent_by(combiner, closing(START_MS + 32_000))
    parts = [line for line in lines if line["kind"] == "usage"]
    assert [line["ts"] for line in parts] == [START_MS, START_MS]
    assert len({line["id"] for line in parts}) == 2
    assert counted(lines) == 2
    assert combiner.counts["late"] == 1


def test_session_begins_and_fails_once() -> None:
    """A session over several windows began in the first; of several failures, by
    whatever signature or outcome, the first counts."""
    combiner = Combiner(0, KEY)
    timed: list[Timed] = []
    for window in range(3):
        ms = START_MS + window * 10_000
        failing = {"outcome": "server_error", "id": f"f{window}"}
        timed.append((ms, single(1, ms, id=f"u{window}")))
        timed.append((ms + 1, single(1, ms, **failing)))
        timed.append((ms + 2, single(1, ms, "error", type="E", id=f"e{window}")))
    lines = sent_by(combiner, [*timed, *closing(START_MS + 60_000)])
    usage = [line for line in lines if line["kind"] == "usage"]
    errors = [line for line in lines if line["kind"] == "error"]
    assert [line.get("sessions") for line in usage] == [1, 0, 0]
    assert sum(line["sessions"] for line in errors) == 1
    assert [e["signature"] for e in errors if e["sessions"]] == ["outcome:server_error"]


def test_nameless_sessions_are_not_invented() -> None:
    """Where one event names no session its aggregate tells requests alone."""
    combiner = Combiner(0, KEY)
    bare = {k: v for k, v in single(2, START_MS).items() if k != "session"}
    lines = sent_by(combiner, [(START_MS, single(1, START_MS)), (START_MS, bare)])
    lines += sent_by(combiner, closing(START_MS + 20_000))
    (usage,) = (line for line in lines if line["kind"] == "usage")
    assert usage["count"] == 2
    assert "sessions" not in usage


def test_lines_of_a_request_count_once() -> None:
    """Three lines with one trace are one failed request."""
    combiner = Combiner(0, KEY)
    timed = [
        (START_MS, single(n, START_MS, "error", trace_id="t", type="E", id=f"e{n}"))
        for n in range(3)
    ]
    lines = sent_by(combiner, [*timed, (START_MS, single(1, START_MS))])
    lines += sent_by(combiner, closing(START_MS + 20_000))
    assert counted(lines, "error") == 1


def test_errors_bring_their_empty_usage() -> None:
    """Failures without usage beside them come with a usage aggregate of nothing."""
    combiner = Combiner(0, KEY)
    error = single(1, START_MS, "error", type="E")
    lines = sent_by(combiner, [(START_MS, error), *closing(START_MS + 20_000)])
    told = [(line["kind"], line.get("count"), line.get("sessions")) for line in lines]
    assert told == [("usage", 0, 0), ("error", 1, 1), ("tick", None, None)]


def test_made_up_releases_push_nobody_out() -> None:
    """A window full of releases nobody knows leaves the known ones' cells whole."""
    combiner = Combiner(0, KEY)
    known = [(START_MS + n, single(n, START_MS + n)) for n in range(20)]
    lines = sent_by(combiner, [*known, *closing(START_MS + 20_000)])
    now = START_MS + 21_000
    fake = [(now, single(1_000 + n, now, release=f"999.{n}")) for n in range(CELLS_MAX)]
    real = [(now, single(100 + n, now, attrs={"os": str(n)})) for n in range(20)]
    lines = sent_by(combiner, [*fake, *real, *closing(now + 30_000)])
    per = Counter({line["release"]: 0 for line in lines if line["kind"] == "usage"})
    for line in lines:
        if line["kind"] == "usage":
            per[line["release"]] += line["count"]
    cells = [line for line in lines if line.get("release") == "1.0.0"]
    assert len(cells) == 20
    assert per["1.0.0"] == 20
    assert per["other"] == CELLS_MAX - 512
    assert sum(per.values()) == CELLS_MAX + 20


def test_others_pass_without_identities() -> None:
    """Deploys, aggregates and the like go on as they are, users and sessions hashed,
    under an id that a second reading gives again."""
    event = {**single(1, START_MS, "feedback", score=1.0), "user": "alice"}
    del event["id"]
    first = sent_by(Combiner(0, KEY), [(START_MS, event)])
    again = sent_by(Combiner(0, KEY), [(START_MS, event)])
    assert first == again
    (line,) = first
    assert line["id"] == "at:hypercare.hot:0:0:0"
    assert line["user"].startswith("h:")
    assert line["session"].startswith("h:")


def test_oversize_event_passes_no_combiner() -> None:
    """An event that fits into no record of the log is a dead letter with its place:
    sent again and again it would hold back all that follows."""
    event = single(1, START_MS, "error", window_s=10, count=2)
    del event["session"]
    event["frames"] = ["\N{GRINNING FACE}" * 4_096] * 62
    value = json.dumps(event, ensure_ascii=False).encode()
    found = Combiner(0, KEY).apply([LogRecord(0, START_MS, None, value)]).records
    assert [output.topic for output in found] == ["deadletter"]
    letter = json.loads(found[0].value)
    assert (letter["reason"], letter["field"]) == ("too_large", "frames")
    assert letter["offset"] == 0


def test_restored_combiner_sends_the_same() -> None:
    """Cut anywhere, with whole and with changed blocks: the bytes of one run."""
    log = log_of(with_ticks(requests(traffic(BAD, 6, 4))))
    alone = Combiner(0, KEY).apply(log).records
    store: dict[str, bytes] = {}
    combiner, found = Combiner(0, KEY), []
    for begin in range(0, len(log), 1_111):
        found += combiner.apply(log[begin : begin + 1_111]).records
        for name, block in dirty_blocks(combiner).items():
            store.pop(name, None)
            if block is not None:
                store[name] = block
        mark_clean(combiner)
        assert store == all_blocks(combiner)
        heir = Combiner(0, KEY)
        restore(heir, store, combiner.next_offset)
        combiner = heir
    assert found == alone


def test_newer_state_is_refused() -> None:
    """A snapshot of a later version, or of another offset, is refused by name."""
    blocks = all_blocks(Combiner(0, KEY))
    with pytest.raises(StateError, match="ends at offset 0"):
        restore(Combiner(0, KEY), blocks, 5)
    head = msgspec.msgpack.decode(blocks["combiner"])
    newer = {"combiner": msgspec.msgpack.encode({**head, "version": 9})}
    with pytest.raises(StateError, match="start the newer release"):
        restore(Combiner(0, KEY), newer, 0)


def test_memory_writes_what_is_new() -> None:
    """A piece is written again while it grows and never once it is full."""
    memory = Memory("ids", kept_ms=60_000, most=3 * PIECE)
    for number in range(PIECE + 5):
        memory.add(number, 0)
    assert [name for name, _ in memory.dirty_pieces()] == ["ids/0/0", "ids/0/1"]
    memory.mark_clean()
    memory.add(PIECE + 5, 0)
    assert [name for name, _ in memory.dirty_pieces()] == ["ids/0/1"]
    for number in range(2 * PIECE):
        memory.add(10**6 + number, 60_000)
    assert memory.forgotten_early == PIECE + 6
    assert dict(memory.dirty_pieces())["ids/0/1"] is None


def test_rejected_bytes_give_letters() -> None:
    """Bytes that are no event give a dead letter with their place."""
    outputs = Combiner(3, KEY).apply([LogRecord(7, START_MS, None, b"{bad")]).records
    assert [o.topic for o in outputs] == ["deadletter"]
    assert json.loads(outputs[0].value)["partition"] == 3
