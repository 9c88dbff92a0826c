"""Snapshots as packs: few large compressed blobs in place of many small shards.

A snapshot writes what changed as one pack, or several where it is large, and its
manifest names the packs that still hold something valid. Read in the order of their
numbers, a later pack's shard replaces an earlier one's. A pack whose shards have all
been replaced is dropped. So that neither the manifest nor what a restore has to read
grows without bound, packs of which little is left are written off: what is left of
them is written again with the next snapshot.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import cramjam
import msgspec

from streams.history import DamagedState

PREFIX = "pack/"
VERSION = 1

RAW_BYTES = 4 * 1024 * 1024
"""Size of a pack before compression, from which on the next one is begun."""

PACKS_MAX = 48
"""Packs, beside full ones, beyond which the smallest are written off. More: less is
written twice, and manifests and restores have more to name and read."""

WASTE_MAX = 1.0
"""Replaced bytes per valid one beyond which packs are written off, too."""

SPARED_BYTES = 1024 * 1024
"""Waste that is not worth the trouble, before compression."""

LASTING = ("rows/", "steps/", "ledger/", "forms")
"""What stays valid over many snapshots is not packed with what the next replaces."""

_LEVEL = 1


class Pack(msgspec.Struct, kw_only=True):
    """Shards of one snapshot; None is one that has gone."""

    version: int
    shards: dict[str, bytes | None]


@dataclass(slots=True)
class _Held:
    """What is known of a pack: its bytes, and the shards in it that are valid."""

    raw_bytes: int = 0
    stored_bytes: int = 0
    valid: dict[str, int] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)

    @property
    def share(self) -> float:
        """How much of it is valid."""
        left = sum(self.valid.values()) + sum(map(len, self.gone))
        return left / max(1, self.raw_bytes)


class Packs:
    """The packs of one partition, from a whole snapshot on."""

    def __init__(self) -> None:
        self._number = 0
        self._held: dict[int, _Held] = {}
        self._of: dict[str, int] = {}

    def names(self) -> list[str]:
        """Names of the packs that a restore needs."""
        return [f"{PREFIX}{number}" for number in self._held]

    def due(self) -> set[str]:
        """Shards to write again with the next snapshot, changed or not."""
        found: set[str] = set()
        for number in self._written_off():
            held = self._held[number]
            found |= held.valid.keys()
            if number != min(self._held):
                found |= held.gone
        return found

    def pack(
        self, shards: Mapping[str, bytes | None], *, whole: bool, due: set[str]
    ) -> dict[str, bytes | None]:
        """New packs with what a snapshot writes, and None for those not needed more.

        ``due`` is what `due` said before; what of it no longer exists is written as
        gone, as an earlier pack may still hold it.
        """
        before = self.names()
        if whole:
            self._held.clear()
            self._of.clear()
        written = {**dict.fromkeys(sorted(due - shards.keys())), **shards}
        made: dict[str, bytes] = {}
        for part in _cut(written if not whole else shards):
            self._number += 1
            self._note(part)
            raw = msgspec.msgpack.encode(Pack(version=VERSION, shards=part))
            blob = bytes(cramjam.zstd.compress(raw, _LEVEL))
            self._held[self._number].stored_bytes = len(blob)
            made[f"{PREFIX}{self._number}"] = blob
        self._drop()
        left = self.names()
        found: dict[str, bytes | None] = {n: b for n, b in made.items() if n in left}
        return found | dict.fromkeys(name for name in before if name not in left)

    def _note(self, part: Mapping[str, bytes | None]) -> None:
        held = self._held[self._number] = _Held()
        for name, blob in part.items():
            known = self._of.pop(name, None)
            if known is not None:
                self._held[known].valid.pop(name, None)
                self._held[known].gone.discard(name)
            if blob is not None:
                held.valid[name] = len(name) + len(blob)
                held.raw_bytes += held.valid[name]
            elif known is not None:
                held.gone.add(name)
                held.raw_bytes += len(name)
            if blob is not None or known is not None:
                self._of[name] = self._number

    def _drop(self) -> None:
        """Forget packs without anything valid; what is gone matters to older ones."""
        is_oldest = True
        for number, held in sorted(self._held.items()):
            if is_oldest:
                for name in held.gone:
                    del self._of[name]
                held.gone.clear()
            if held.valid or held.gone:
                is_oldest = False
            else:
                del self._held[number]

    def _written_off(self) -> set[int]:
        """Packs to get rid of: small ones if there are many, else emptier ones."""
        shares = {number: held.share for number, held in self._held.items()}
        valid = {n: shares[n] * self._held[n].stored_bytes for n in shares}
        waste = {n: self._held[n].stored_bytes - valid[n] for n in shares}
        raw = sum(held.raw_bytes for held in self._held.values())
        surplus = len(shares) - PACKS_MAX - raw // RAW_BYTES
        found = set(sorted(valid, key=lambda n: (valid[n], n))[: max(0, surplus)])
        excess = sum(waste.values()) - SPARED_BYTES - WASTE_MAX * sum(valid.values())
        for number in sorted(shares, key=lambda n: (shares[n], n)):
            if excess <= 0:
                break
            found.add(number)
            excess -= waste[number]
        return found


def unpack(shards: Mapping[str, bytes]) -> dict[str, bytes]:
    """The shards that stand in packs; what stands beside packs stays as it is.

    Raises
    ------
    DamagedState
        If a pack can not be read, or is newer than this code.
    """
    found = {k: v for k, v in shards.items() if not k.startswith(PREFIX)}
    packed = [name for name in shards if name.startswith(PREFIX)]
    room = bytearray(2 * RAW_BYTES if packed else 0)
    for name in sorted(packed, key=lambda name: int(name.removeprefix(PREFIX))):
        for shard, blob in _read(name, shards[name], room).items():
            if blob is None:
                found.pop(shard, None)
            else:
                found[shard] = blob
    return found


def _read(name: str, blob: bytes, room: bytearray) -> dict[str, Any]:
    """The shards of a pack; ``room`` is for its bytes, if they are as few as usual."""
    try:
        raw = _decompressed(blob, room)
        pack = msgspec.msgpack.decode(raw, type=Pack)
    except (cramjam.DecompressionError, msgspec.DecodeError) as error:
        raise DamagedState(f"{name} can not be read: {error}") from error
    if pack.version > VERSION:
        raise DamagedState(
            f"{name} has version {pack.version}, this code reads up to {VERSION}: "
            "start the newer release of hypercare"
        )
    return pack.shards


def _decompressed(blob: bytes, room: bytearray) -> memoryview:
    """The bytes of a pack, in the room that is there: new room takes half the time."""
    try:
        size = int(cramjam.zstd.decompress_into(blob, room))
    except cramjam.DecompressionError:  # damaged, or one shard of it is very large
        return memoryview(bytes(cramjam.zstd.decompress(blob)))
    return memoryview(room)[:size]


def _cut(shards: Mapping[str, bytes | None]) -> Iterator[dict[str, bytes | None]]:
    """Parts of about `RAW_BYTES`; likes beside likes, they compress best."""
    names = sorted(shards)
    lasting = [name for name in names if name.startswith(LASTING)]
    others = [name for name in names if not name.startswith(LASTING)]
    for chosen in (others, lasting):
        part: dict[str, bytes | None] = {}
        size = 0
        for name in chosen:
            blob = part[name] = shards[name]
            size += len(name) + len(blob or b"")
            if size >= RAW_BYTES:
                yield part
                part, size = {}, 0
        if part:
            yield part
