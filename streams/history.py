"""What a state partition holds: keys, manifests and how to read them back.

A state partition is a little log of four kinds of records, told apart by key::

    c/<epoch>/<worker>              claim: from here on <epoch> owns the partition
    r/<epoch>/<offset | start>      order: what stands before is void, begin there
    s/<epoch>/<seq>/<chunk>/<name>  one chunk of one shard of one snapshot
    m/<epoch>/<seq>                 manifest: closes the snapshot, names its shards

No key is ever written twice with different values, so compaction never takes from
one owner what another one wrote; and every key carries its epoch, so that even a
tombstone tells that a higher epoch has been here. :class:`History` is a fold over
these records in offset order and does no I/O.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

FROM_START = -1
"""Ordered offset that stands for the first one the log still has."""

CHUNK_BYTES = 900_000
"""Kafka's default record limit is 1 MiB with its overhead; a shard may be larger."""


class Key(NamedTuple):
    """A parsed key of the state topic.

    ``name`` is the worker in a claim and the offset in an order.
    """

    kind: str
    epoch: int
    seq: int = 0
    chunk: int = 0
    name: str = ""

    def encode(self) -> bytes:
        """Return the key as it stands in Kafka."""
        if self.kind in ("c", "r"):
            return f"{self.kind}/{self.epoch}/{self.name}".encode()
        if self.kind == "m":
            return f"m/{self.epoch}/{self.seq}".encode()
        return f"s/{self.epoch}/{self.seq}/{self.chunk}/{self.name}".encode()

    @classmethod
    def decode(cls, raw: bytes | None) -> Key | None:
        """Return the key, or ``None`` for a record that is not ours."""
        kind, _, rest = (raw or b"").decode("utf-8", "replace").partition("/")
        try:
            if kind in ("c", "r"):
                epoch, name = rest.split("/", 1)
                if kind == "r" and name != "start":
                    int(name)
                return cls(kind, int(epoch), name=name)
            if kind == "m":
                epoch, seq = rest.split("/")
                return cls("m", int(epoch), int(seq))
            if kind == "s":
                epoch, seq, chunk, name = rest.split("/", 3)
                return cls("s", int(epoch), int(seq), int(chunk), name)
        except ValueError:
            return None
        return None


class ShardRef(msgspec.Struct, frozen=True, array_like=True):
    """Where a shard of a manifest stands: its snapshot, its chunks, its checksum."""

    seq: int
    chunks: int
    crc32: int

    def keys(self, epoch: int, name: str) -> list[bytes]:
        """Return the keys of all chunks."""
        return [
            Key("s", epoch, self.seq, chunk, name).encode()
            for chunk in range(self.chunks)
        ]


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What closes a snapshot: complete when every shard it names is there.

    ``log_partitions`` is the number of partitions of the log when it was written: a
    service hashes to another partition when that changes. Nothing of this partition
    of the state before the offset ``since`` is needed by who takes it over.
    """

    epoch: int
    seq: int
    next_offset: int
    log_partitions: int
    worker: str
    shards: dict[str, ShardRef]
    since: int = 0


class Restored(NamedTuple):
    """The newest complete snapshot: what it was and its shards."""

    manifest: Manifest
    shards: dict[str, bytes]


class DamagedState(Exception):
    """There are manifests, but none of them has all of its shards."""


def split(blob: bytes) -> list[bytes]:
    """Cut a shard into chunks that fit a record; an empty one has one chunk."""
    return [
        blob[at : at + CHUNK_BYTES] for at in range(0, max(len(blob), 1), CHUNK_BYTES)
    ]


def reference(seq: int, blob: bytes) -> ShardRef:
    """Return the reference of a shard that is written in snapshot ``seq``."""
    return ShardRef(seq, len(split(blob)), zlib.crc32(blob))


@dataclass(slots=True)
class History:
    """The fold over a state partition, in offset order.

    Attributes
    ----------
    epoch_claimed : int
        Highest epoch claimed so far; records of lower epochs that come later are
        those of a worker that did not know it had been replaced, and count nothing.
    epoch_seen : int
        Highest epoch in any key, tombstones too: the next claim goes above it.
    """

    epoch_claimed: int = 0
    epoch_seen: int = 0
    ignored: int = 0
    records: dict[Key, bytes] = field(default_factory=dict)
    _found: Restored | None = None

    def add(self, raw_key: bytes | None, value: bytes | None) -> None:
        """Apply one record."""
        key = Key.decode(raw_key)
        if key is None:
            self.ignored += 1
            return
        self.epoch_seen = max(self.epoch_seen, key.epoch)
        if key.epoch < self.epoch_claimed:
            self.ignored += 1
            return
        if key.kind != "c":
            self._found = None
        if value is None:
            self.records.pop(key, None)
        else:
            self.records[key] = value
            if key.kind in ("c", "r"):
                self.epoch_claimed = key.epoch

    def ordered(self) -> int | None:
        """Return where an operator told the next owner to begin, if it still holds.

        An order makes every snapshot of an earlier epoch void and is itself void
        once a later one has a manifest.
        """
        orders = [key for key in self.records if key.kind == "r"]
        if not orders:
            return None
        newest = max(orders, key=lambda key: key.epoch)
        if any(k.kind == "m" and k.epoch > newest.epoch for k in self.records):
            return None
        return FROM_START if newest.name == "start" else int(newest.name)

    def owner(self) -> str:
        """Return the worker of the newest claim, empty where there is none."""
        claims = [key for key in self.records if key.kind == "c"]
        return max(claims, key=lambda key: key.epoch).name if claims else ""

    def needed_since(self) -> int | None:
        """Return the offset from which on the newest manifest needs records.

        ``None`` where there is no manifest that can be read.
        """
        keys = [key for key in self.records if key.kind == "m"]
        if not keys:
            return None
        newest = max(keys, key=lambda key: (key.epoch, key.seq))
        try:
            return read_manifest(self.records[newest]).since
        except (msgspec.DecodeError, zlib.error):
            return None

    def newest(self) -> Restored | None:
        """Return the newest complete snapshot, ``None`` where there never was one.

        Raises
        ------
        DamagedState
            Manifests exist and not one is complete.
        """
        if self._found is None:  # a claim asks twice, and checksums take their time
            self._found = self._newest()
        return self._found

    def _newest(self) -> Restored | None:
        void = max((k.epoch for k in self.records if k.kind == "r"), default=0)
        manifests = sorted(
            (k for k in self.records if k.kind == "m" and k.epoch > void),
            key=lambda key: (key.epoch, key.seq),
            reverse=True,
        )
        reasons = []
        for key in manifests:
            try:
                manifest = read_manifest(self.records[key])
                return Restored(manifest, self._shards(manifest))
            except (msgspec.DecodeError, zlib.error, LookupError) as error:
                reasons.append(f"{key.encode().decode()}: {error}")
        if reasons:
            raise DamagedState("; ".join(reasons))
        return None

    def keys_below(self, epoch: int) -> set[bytes]:
        """Return the keys of earlier owners: garbage once ``epoch`` has a manifest."""
        return {key.encode() for key in self.records if key.epoch < epoch}

    def _shards(self, manifest: Manifest) -> dict[str, bytes]:
        return {
            name: self._shard(manifest.epoch, name, ref)
            for name, ref in manifest.shards.items()
        }

    def _shard(self, epoch: int, name: str, ref: ShardRef) -> bytes:
        keys = [Key("s", epoch, ref.seq, chunk, name) for chunk in range(ref.chunks)]
        missing = [key for key in keys if key not in self.records]
        if missing:
            raise LookupError(f"shard {missing[0].encode().decode()} is missing")
        blob = b"".join(self.records[key] for key in keys)
        if zlib.crc32(blob) != ref.crc32:
            raise LookupError(f"shard {name!r} has another checksum")
        return blob


def manifest_bytes(manifest: Manifest) -> bytes:
    """Encode a manifest: plain for people, compressed where a record needs that."""
    encoded = msgspec.json.encode(manifest)
    if len(encoded) > CHUNK_BYTES:
        encoded = zlib.compress(encoded, 1)
    if len(encoded) > CHUNK_BYTES:
        raise ValueError(
            f"the manifest of {len(manifest.shards)} shards has {len(encoded)} bytes, "
            f"at most {CHUNK_BYTES} fit a record: use fewer, larger shards"
        )
    return encoded


def read_manifest(raw: bytes) -> Manifest:
    """Decode a manifest, plain or compressed."""
    plain = raw if raw.startswith(b"{") else zlib.decompress(raw)
    return msgspec.json.decode(plain, type=Manifest)


def claim_bytes(epoch: int, worker: str) -> bytes:
    """Encode a claim; the value is for people, the key decides."""
    return msgspec.json.encode({"epoch": epoch, "worker": worker})


def order_key(epoch: int, offset: int) -> Key:
    """Return the key that orders the next owner to begin at an offset."""
    return Key("r", epoch, name="start" if offset == FROM_START else str(offset))


def epoch_in(raw_key: bytes | None) -> int:
    """Return the epoch a record speaks of, 0 for one that is not ours."""
    key = Key.decode(raw_key)
    return key.epoch if key else 0


def total_bytes(shards: Mapping[str, bytes | None]) -> int:
    """Return the size of the shards that a snapshot writes."""
    return sum(len(blob) for blob in shards.values() if blob)
