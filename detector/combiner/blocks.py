"""A combiner's state as named blocks of bytes, and back."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TypeVar

import msgspec
from msgspec import Struct

from detector.combiner.core import Combiner
from detector.combiner.scopes import Scope, ScopeKey
from detector.state import StateError

VERSION = 1
HEAD = "combiner"
SCOPE_PREFIX = "scope/"


class HeadBlock(Struct, kw_only=True):
    """What belongs to the partition as a whole."""

    version: int
    next_offset: int
    arrival_ms: int
    counts: dict[str, int]


Block = TypeVar("Block", HeadBlock, Scope)

_encode = msgspec.msgpack.Encoder().encode


def all_blocks(combiner: Combiner) -> dict[str, bytes]:
    """The whole state."""
    blocks = {HEAD: _head(combiner)}
    for key, scope in combiner.scopes.items():
        blocks[_name(key)] = _encode(scope)
    for memory in (combiner.ids, combiner.sessions):
        blocks.update(memory.all_pieces())
    return blocks


def dirty_blocks(
    combiner: Combiner, also: Collection[str] = ()
) -> dict[str, bytes | None]:
    """What changed since ``mark_clean``; None marks a block that is gone.

    Blocks named in ``also`` are written too, where they are still there.
    """
    blocks: dict[str, bytes | None] = {HEAD: _head(combiner)}
    for key in sorted(combiner.dirty):
        blocks[_name(key)] = _encode(combiner.scopes[key])
    for key in sorted(combiner.gone):
        blocks[_name(key)] = None
    for memory in (combiner.ids, combiner.sessions):
        blocks.update(memory.dirty_pieces())
    if named := set(also) - blocks.keys():
        whole = all_blocks(combiner)
        blocks.update({name: whole[name] for name in sorted(named & whole.keys())})
    return blocks


def mark_clean(combiner: Combiner) -> None:
    """Forget what was dirty: it has been taken into a snapshot."""
    combiner.dirty.clear()
    combiner.gone.clear()
    combiner.ids.mark_clean()
    combiner.sessions.mark_clean()


def restore(combiner: Combiner, blocks: Mapping[str, bytes], next_offset: int) -> None:
    """Put a snapshot's blocks into a new combiner.

    Raises
    ------
    StateError
        If a block is missing, newer than this code, or damaged.
    """
    head = _read(blocks, HEAD, HeadBlock)
    if head.version > VERSION:
        raise StateError(
            f"block {HEAD} has version {head.version}, this code reads up to "
            f"{VERSION}: start the newer release of hypercare"
        )
    if head.next_offset != next_offset:
        raise StateError(
            f"block {HEAD} ends at offset {head.next_offset}, the manifest at "
            f"{next_offset}: rebuild the state from the topic"
        )
    combiner.next_offset, combiner.arrival_ms = next_offset, head.arrival_ms
    combiner.counts.update(head.counts)
    for name in sorted(blocks):
        if name.startswith(SCOPE_PREFIX):
            scope = _read(blocks, name, Scope)
            combiner.scopes[scope.key] = scope
    for memory in (combiner.ids, combiner.sessions):
        memory.take_pieces(blocks)


def _head(combiner: Combiner) -> bytes:
    return _encode(
        HeadBlock(
            version=VERSION,
            next_offset=combiner.next_offset,
            arrival_ms=combiner.arrival_ms,
            counts=dict(sorted(combiner.counts.items())),
        )
    )


def _name(key: ScopeKey) -> str:
    # Names may hold slashes but no percent sign: a/b in c is not a in b/c.
    service, environment = (part.replace("/", "%2F") for part in key)
    return f"{SCOPE_PREFIX}{service}/{environment}"


def _read(blocks: Mapping[str, bytes], name: str, kind: type[Block]) -> Block:
    try:
        return msgspec.msgpack.decode(blocks[name], type=kind)
    except KeyError as error:
        raise StateError(f"block {name} is missing: rebuild the state") from error
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise StateError(f"block {name} is damaged ({error}): rebuild it") from error
