"""A combiner's state as named blocks of bytes, and back."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from detector.blocks import (
    SCOPE_PREFIX,
    StateError,
    Versioned,
    block_name,
    decode_block,
    encode,
    read_block,
)
from detector.combiner.core import Combiner
from detector.combiner.scopes import Scope

VERSION = 1
HEAD = "combiner"


class HeadBlock(Versioned, kw_only=True):
    """What belongs to the partition as a whole."""

    next_offset: int
    arrival_ms: int
    counts: dict[str, int]


def all_blocks(combiner: Combiner) -> dict[str, bytes]:
    """The whole state."""
    blocks = {HEAD: _head(combiner)}
    for key, scope in combiner.scopes.items():
        blocks[block_name(key)] = encode(scope)
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
        blocks[block_name(key)] = encode(combiner.scopes[key])
    for key in sorted(combiner.gone):
        blocks[block_name(key)] = None
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
    head = read_block(blocks, HEAD, HeadBlock, VERSION)
    if head.next_offset != next_offset:
        raise StateError(
            f"block {HEAD} ends at offset {head.next_offset}, the manifest at "
            f"{next_offset}: rebuild the state from the topic"
        )
    combiner.next_offset, combiner.arrival_ms = next_offset, head.arrival_ms
    combiner.counts.update(head.counts)
    for name in sorted(blocks):
        if name.startswith(SCOPE_PREFIX):
            scope = decode_block(blocks, name, Scope)
            combiner.scopes[scope.key] = scope
    for memory in (combiner.ids, combiner.sessions):
        memory.take_pieces(blocks)


def _head(combiner: Combiner) -> bytes:
    return encode(
        HeadBlock(
            version=VERSION,
            next_offset=combiner.next_offset,
            arrival_ms=combiner.arrival_ms,
            counts=dict(sorted(combiner.counts.items())),
        )
    )
