"""What older versions left behind: this code reads it and goes on as if alone.

A folder a version, written by ``make.py`` and never again. The folder of the state
version now written must give the same bytes as an undisturbed run; an older one must
carry on the same episodes. A change that alters decisions on purpose adds a folder.
"""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from detector import state
from detector.blocks import NAMED_VERSION, ScopeBlock
from detector.engine import Partition
from detector.records import LogRecord, Output
from detector.rulefile import load_rules
from detector.scope import Scope, Watch
from detector.verdicts import RecommendationRecord, VerdictRecord
from streams.core import DetectorCores
from streams.fence import Fence, Frozen
from streams.history import History, Key, Restored
from streams.lane import Lane, LaneConfig
from streams.outbox import SHARD, Outbox
from streams.packs import unpack
from streams.ports import Bounds
from streams.progress import Counters, LaneState
from streams.settings import StateReset
from tests.golden.state.make import outputs_of, records
from tests.unit.streams.memory import (
    MemoryEmitter,
    MemoryLog,
    MemoryPartition,
    MemoryStateLog,
)

HERE = Path(__file__).parent
FOLDERS = sorted(path.parent for path in HERE.glob("*/state-topic.msgpack.gz"))
TYPES = {"verdicts": VerdictRecord, "recommendations": RecommendationRecord}
SHOP = "scope/shop/production"


def by_age(folder: Path) -> list[int]:
    return [int(part) for part in folder.name.split(".")]


NEWEST = max(FOLDERS, key=by_age)


@dataclass(frozen=True)
class Left:
    """One folder: the newest snapshot, the log, what was put out."""

    restored: Restored
    log: list[LogRecord]
    rows: list[dict[str, Any]]
    rules: str

    @property
    def shards(self) -> dict[str, bytes]:
        return unpack(self.restored.shards)

    @property
    def blocks(self) -> dict[str, bytes]:
        return {k: v for k, v in self.shards.items() if k != SHARD}

    @property
    def version(self) -> int:
        found: int = msgspec.msgpack.decode(self.blocks["partition"])["version"]
        return found

    @property
    def next_offset(self) -> int:
        return self.restored.manifest.next_offset

    def partition(self, blocks: dict[str, bytes] | None = None) -> Partition:
        return state.restore(0, blocks or self.blocks, self.next_offset)


def left_by(folder: Path) -> Left:
    """Read a folder the way a new owner reads its partition of the state topic."""
    history = History()
    packed = (folder / "state-topic.msgpack.gz").read_bytes()
    for key, value in msgspec.msgpack.decode(gzip.decompress(packed)):
        history.add(key, value)
    restored = history.newest()
    assert restored is not None
    lines = gzip.decompress((folder / "log.jsonl.gz").read_bytes()).splitlines()
    text = (folder / "outputs.jsonl").read_text(encoding="utf-8")
    return Left(
        restored,
        records(lines),
        [json.loads(row) for row in text.splitlines()],
        (folder / "rules.yaml").read_text(encoding="utf-8"),
    )


@pytest.fixture(params=FOLDERS, ids=lambda folder: folder.name)
def left(request: pytest.FixtureRequest) -> Left:
    """What each version left."""
    return left_by(request.param)


def course(outputs: list[Output]) -> list[tuple[Any, ...]]:
    """What a receiver acts on: which recommendation, how far, in what state."""
    found = [json.loads(o.value) for o in outputs if o.topic == "recommendations"]
    return [(r["id"], r["revision"], r["action"], r["state"]) for r in found]


def with_fields(block: bytes, **more: Any) -> bytes:
    return msgspec.msgpack.encode({**msgspec.msgpack.decode(block), **more})


def test_golden_state_is_worth_keeping(left: Left) -> None:
    """It holds an open episode, open windows, repeats and unsent outputs."""
    scopes = left.partition().scopes
    shop, cart = (scopes[name, "production"] for name in ("shop", "cart"))
    episode = shop.watches["2.4.0"].episode
    assert episode is not None
    assert shop.open
    assert cart.duplicates > 0
    assert len(Outbox.decode(left.shards[SHARD])) > 0
    assert left.version == 1 or any(n.startswith("steps/") for n in left.blocks)


@pytest.mark.fault("23")
def test_old_state_carries_on_its_episode(left: Left) -> None:
    """The next owner closes the recommendation the old version opened."""
    rest = left.log[left.next_offset :]
    expected = [
        (r["value"]["id"], r["value"]["revision"], "rollback", "executed")
        for r in left.rows
        if r["topic"] == "recommendations" and r["value"]["state"] == "executed"
    ]
    assert len(expected) == 1
    assert expected == course(outputs_of(left.partition(), rest))


def test_restored_goes_on_undisturbed() -> None:
    """Head by the writer, rest by this code: the bytes of one undisturbed run."""
    left = left_by(NEWEST)
    alone = Partition(0, load_rules(left.rules, source="golden"))
    head = outputs_of(alone, left.log[: left.next_offset])
    waiting = Outbox.decode(left.shards[SHARD]).encode()
    undisturbed = Outbox()
    undisturbed.add(head)
    assert undisturbed.encode() == waiting
    rest = left.log[left.next_offset :]
    restored = left.partition()
    assert outputs_of(alone, rest) == outputs_of(restored, rest)
    assert (alone.next_offset, alone.counts) == (restored.next_offset, restored.counts)


def lost(old: Any, new: Any, path: str = "") -> list[str]:
    """Paths of fields that the old block has and the restored one has not."""
    if isinstance(new, msgspec.Struct):
        fields = new.__struct_encode_fields__
        named = old if isinstance(old, dict) else dict(enumerate(old))
        known = dict(zip(fields, fields, strict=True)) | dict(enumerate(fields))
        gone = [f"{path}/{name}" for name in named if name not in known]
        kept = {known[name]: one for name, one in named.items() if name in known}
        return gone + [
            x for n in kept for x in lost(kept[n], getattr(new, n), f"{path}/{n}")
        ]
    if isinstance(old, dict) and isinstance(new, dict):
        gone = [f"{path}/{name}" for name in old if name not in new]
        there = [name for name in old if name in new]
        return gone + [x for n in there for x in lost(old[n], new[n], f"{path}/{n}")]
    if isinstance(old, list) and isinstance(new, list):
        short = [f"{path}[{i}]" for i in range(len(new), len(old))]
        pairs = enumerate(zip(old, new, strict=False))
        return short + [x for i, (a, b) in pairs for x in lost(a, b, f"{path}[{i}]")]
    return []


def test_no_field_of_old_state_is_lost(left: Left) -> None:
    """A renamed or removed field would be dropped in silence: each is written again."""
    again = state.all_blocks(left.partition())
    for name, block in left.blocks.items():
        if name.startswith("steps/"):  # written as the rows they lead to
            assert f"rows/{name.split('/', 1)[1].rpartition('/')[0]}" in again
            continue
        old, new = msgspec.msgpack.decode(block), msgspec.msgpack.decode(again[name])
        if name.startswith("scope/"):  # version 1 had the rows in there
            old["rows"], new = {}, msgspec.msgpack.decode(again[name], type=ScopeBlock)
        assert lost(old, new) == []


def test_unknown_fields_are_ignored(left: Left) -> None:
    """Fields that a later version adds at the same state version change nothing."""
    blocks = left.blocks
    shop = msgspec.msgpack.decode(blocks[SHOP])
    watches = Scope.__struct_encode_fields__.index("watches")
    if left.version <= NAMED_VERSION:
        shop["scope"]["from_later"] = 1
        for watch in shop["scope"]["watches"].values():
            watch["from_later"] = {"a": [1]}
    else:
        # Written before a field was added, it has no room for one of later.
        rows = [(Watch, row) for row in shop["scope"][watches].values()]
        for form, row in [*rows, (Scope, shop["scope"])]:
            if len(row) == len(form.__struct_encode_fields__):
                row.append({"a": [1]})
    changed = {
        **blocks,
        SHOP: with_fields(msgspec.msgpack.encode(shop), from_later="x"),
        "partition": with_fields(blocks["partition"], from_later=None),
        "kind-of-later/x": b"\xc0",
    }
    found = state.all_blocks(left.partition(changed))
    assert found == state.all_blocks(left.partition())


@pytest.mark.parametrize("kind", ["partition", "forms", "scope", "rows", "steps"])
def test_higher_version_is_refused_by_name(left: Left, kind: str) -> None:
    """A block of a higher state version is named and the newer release asked for."""
    name = next((n for n in sorted(left.blocks) if n.startswith(kind)), None)
    if name is None:
        assert left.version < {"forms": 3}.get(kind, 2)
        return
    higher = with_fields(left.blocks[name], version=state.VERSION + 1)
    with pytest.raises(state.StateError, match=f"{name} has version") as refused:
        left.partition({**left.blocks, name: higher})
    assert "start the newer release" in str(refused.value)


def test_unknown_column_is_refused(left: Left) -> None:
    """Evidence this code can not carry on is refused, not dropped."""
    name = SHOP if left.version == 1 else "partition"
    block = msgspec.msgpack.decode(left.blocks[name])
    if left.version == 1:
        block["rows"]["from_later"] = b""
    else:
        block["row"].append(["from_later", "<f8", 0])
    changed = {**left.blocks, name: msgspec.msgpack.encode(block)}
    with pytest.raises(state.StateError, match="from_later"):
        left.partition(changed)


def test_fields_in_another_order_are_refused() -> None:
    """A field that a writer had elsewhere would be read as its neighbour."""
    left = left_by(NEWEST)
    head = msgspec.msgpack.decode(left.blocks["forms"])
    watch = head["forms"]["scope.Watch"]
    watch[1], watch[2] = watch[2], watch[1]
    changed = {**left.blocks, "forms": msgspec.msgpack.encode(head)}
    with pytest.raises(state.StateError, match=r"findings of scope\.Watch stands"):
        left.partition(changed)


def test_longer_and_shorter_forms_are_read() -> None:
    """Fields added at the end, by a later version or since an older one, are no bar."""
    left = left_by(NEWEST)
    head = msgspec.msgpack.decode(left.blocks["forms"])
    head["forms"]["scope.Watch"].append("from_later")
    head["forms"]["scope.Track"].pop()
    head["forms"]["later.Form"] = ["x"]
    changed = {**left.blocks, "forms": msgspec.msgpack.encode(head)}
    assert left.partition(changed).counts == left.partition().counts


def test_unknown_manifest_fields_are_ignored(left: Left) -> None:
    """A manifest with fields of a later version still closes its snapshot."""
    manifest = json.loads(msgspec.json.encode(left.restored.manifest))
    raw = json.dumps({**manifest, "from_later": [1]}).encode()
    assert left.restored.manifest == msgspec.json.decode(
        raw, type=type(left.restored.manifest)
    )


def test_old_outputs_are_still_read(left: Left) -> None:
    """Verdicts and recommendations of old versions decode, and no field is lost."""
    for row in left.rows:
        found = msgspec.convert(row["value"], TYPES[row["topic"]])
        again = json.loads(msgspec.json.encode(found))
        assert row["value"] == {name: again[name] for name in row["value"]}
    assert {row["topic"] for row in left.rows} == set(TYPES)


def test_newer_outputs_are_read(left: Left) -> None:
    """Fields that a later version adds to its outputs do not stop a reader."""
    for row in left.rows:
        found = msgspec.convert(row["value"], TYPES[row["topic"]])
        later = {**row["value"], "from_later": {"a": 1}}
        assert found == msgspec.convert(later, TYPES[row["topic"]])


def test_golden_of_this_version_exists() -> None:
    """Each state version that this code reads has a folder that shows it."""
    written = {left_by(folder).version for folder in FOLDERS}
    assert left_by(NEWEST).version == state.VERSION
    assert set(range(1, state.VERSION + 1)) <= written


async def test_worker_that_is_too_old_writes_nothing(left: Left) -> None:
    """A partition whose state is of a higher version is not read on, nor its state."""
    topic = MemoryPartition()
    fence = Fence(MemoryStateLog(topic), worker="newer", log_partitions=4)
    await fence.claim()
    higher = with_fields(left.blocks[SHOP], version=state.VERSION + 1)
    shards = {**left.shards, SHOP: higher}
    await fence.write(Frozen(left.next_offset, shards, whole=True))
    kept = topic.end
    lane = Lane(
        0,
        Fence(MemoryStateLog(topic), worker="older", log_partitions=4),
        LaneConfig(
            cores=DetectorCores(load_rules(left.rules, source="golden"), "log"),
            log=MemoryLog(Bounds(0, left.next_offset, left.next_offset)),
            emitter=MemoryEmitter(),
            counters=Counters(),
            monotonic_s=lambda: 0.0,
            log_partitions=4,
            state_reset=StateReset.NO,
            topic="log",
        ),
    )
    await lane.restore()
    assert lane.state is LaneState.BLIND
    assert "version" in lane.reason
    assert lane.committable is None
    (claim,) = (record for record in topic.records if record.offset >= kept)
    assert Key.decode(claim.key) == Key("c", 2, name="older")
