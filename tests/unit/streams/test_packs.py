"""Packs: what is unpacked is what was written last, and they stay few."""

from __future__ import annotations

import cramjam
import msgspec
import numpy as np
import pytest

from streams import packs
from streams.history import DamagedState
from streams.packs import Pack, Packs, unpack

Shards = dict[str, bytes | None]


class Store:
    """What a manifest would name, and the shards as they should come back."""

    def __init__(self) -> None:
        self.packs = Packs()
        self.stored: dict[str, bytes] = {}
        self.wanted: dict[str, bytes] = {}
        self.written_bytes = 0

    def write(self, changed: Shards, *, whole: bool = False) -> None:
        """One snapshot; what is due is written again by its owner."""
        due = set() if whole else self.packs.due()
        if whole:
            self.wanted.clear()
        for name, blob in changed.items():
            if blob is None:
                self.wanted.pop(name, None)
            else:
                self.wanted[name] = blob
        again = {name: self.wanted[name] for name in due & self.wanted.keys()}
        found = self.packs.pack({**again, **changed}, whole=whole, due=due)
        for name, blob in found.items():
            if blob is None:
                del self.stored[name]
            else:
                self.stored[name] = blob
                self.written_bytes += len(blob)
        assert set(self.stored) == set(self.packs.names())


def test_latest_shard_comes_back() -> None:
    """Replaced and deleted shards are those of the newest pack that speaks of them."""
    store = Store()
    store.write({"a": b"1", "rows/b": b"1", "c": b""}, whole=True)
    store.write({"a": b"2", "rows/b": None})
    assert unpack(store.stored) == {"a": b"2", "c": b""}


def test_shards_beside_packs_stay() -> None:
    """A snapshot of the time before packs is taken as it is."""
    assert unpack({"scope/a/b": b"1"}) == {"scope/a/b": b"1"}


@pytest.mark.parametrize("seed", range(4))
def test_any_course_is_unpacked(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is written, deleted and made anew comes back, from a bounded store.

    (Deterministic: seeded.)
    """
    monkeypatch.setattr(packs, "PACKS_MAX", 6)
    monkeypatch.setattr(packs, "RAW_BYTES", 400)
    monkeypatch.setattr(packs, "SPARED_BYTES", 200)
    rng = np.random.default_rng(seed)
    names = [f"{kind}{n}" for kind in ("rows/", "scope/", "steps/") for n in range(12)]
    store = Store()
    store.write({"partition": b"0"}, whole=True)
    for step in range(300):
        chosen = rng.choice(names, int(rng.integers(1, 6)), replace=False)
        changed: Shards = {"partition": str(step).encode()}
        for name in chosen.tolist():
            gone = name in store.wanted and rng.random() < 0.3
            changed[name] = None if gone else rng.bytes(int(rng.integers(0, 60)))
        store.write(changed, whole=bool(rng.random() < 0.02))
        assert unpack(store.stored) == store.wanted
        valid = sum(map(len, store.wanted.values()))
        assert len(store.stored) <= 6 + 2 + 3 * valid // 400 + 2
        assert sum(map(len, store.stored.values())) <= 4 * valid + 3_000


def test_rare_changes_are_not_multiplied() -> None:
    """One shard in a hundred changed writes less than three times its own bytes."""
    rng = np.random.default_rng(7)
    store = Store()
    store.write({f"scope/{n}": rng.bytes(9_000) for n in range(400)}, whole=True)
    store.written_bytes = 0
    for step in range(300):
        first = step * 4 % 400
        store.write({f"scope/{n}": rng.bytes(9_000) for n in range(first, first + 4)})
    assert store.written_bytes < 3 * 300 * 4 * 9_000
    assert len(store.stored) <= packs.PACKS_MAX + 4


def test_damaged_pack_is_named() -> None:
    """A pack that can not be read, or is of a newer code, stops the restore."""
    raw = msgspec.msgpack.encode(Pack(version=packs.VERSION + 1, shards={}))
    newer = bytes(cramjam.zstd.compress(raw, 1))
    for blob, said in ((b"rubbish", "can not be read"), (newer, "has version")):
        with pytest.raises(DamagedState, match=f"pack/3 {said}"):
            unpack({"pack/3": blob})
