"""Names and layouts of the blocks of bytes that a partition's state is made of.

Every block starts with its format version; a reader refuses a newer one by name
instead of guessing. Version 1 held the rows of a scope, column by column, inside the
scope's own block; up to version 2 the fields of a scope were written with their names;
up to version 3 all blocks of a snapshot were as of the same offset.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar

import msgspec
from msgspec import Struct, field

from detector.durationledger import DurationStrip
from detector.evidence.rowimage import Layout
from detector.forms import Forms, disagreement, forms_of, without_names
from detector.ledger import CountStrip, Key
from detector.scope import Scope, ScopeKey
from detector.steps import Window

VERSION = 4
NAMED_VERSION = 2
"""The last version that wrote the fields of a scope with names."""

PARTITION_BLOCK = "partition"
FORMS_BLOCK = "forms"
SCOPE_PREFIX = "scope/"
ROWS_PREFIX = "rows/"
STEPS_PREFIX = "steps/"
DAY_PREFIX = "ledger/"


class StateError(Exception):
    """A block can not be read; the message names it and what to do."""


class Versioned(Struct, kw_only=True):
    """A block that says its version."""

    version: int


class PartitionBlock(Versioned, kw_only=True):
    """What belongs to the partition as a whole; ``row`` is how its rows lie.

    ``next_offset`` is from where a restore reads on, ``arrival_ms`` the arrival clock
    there; ``head`` is where the snapshot was taken, and of when ``counts`` are.
    """

    next_offset: int
    arrival_ms: int
    rules: bytes
    rules_of_service: dict[str, bytes]
    counts: dict[str, int]
    row: Layout = field(default_factory=list)
    head: int = 0


class FormsBlock(Versioned, kw_only=True):
    """In which order the fields of scopes lie; written with whole snapshots only."""

    forms: Forms


class ScopeBlock(Versioned, kw_only=True):
    """One scope without its rows and large days; ``rows`` are those of version 1.

    ``applied`` is up to which offset the scope knows the log, where that may be
    further than a restore begins; else 0.
    """

    scope: Scope
    rows: dict[str, bytes] = field(default_factory=dict)
    days: list[int] = field(default_factory=list)
    applied: int = 0


class RowsBlock(Versioned, kw_only=True):
    """The rows of a scope's series, watch by watch in order, as they once were."""

    image: bytes


class StepsBlock(Versioned, kw_only=True):
    """Windows that changed the rows of a scope after that, oldest first."""

    windows: list[Window]


class DayBlock(Versioned, kw_only=True):
    """Counts and durations of one scope on one day that is over."""

    counts: dict[Key, CountStrip]
    durations: dict[Key, DurationStrip]


Block = TypeVar("Block", bound=Versioned)
Decoded = TypeVar("Decoded", bound=Struct)

encode = msgspec.msgpack.Encoder().encode


def block_name(key: ScopeKey) -> str:
    """Name of a scope's block."""
    # Names may hold slashes but no percent sign: a/b in c is not a in b/c.
    service, environment = key
    if "/" in service or "/" in environment:
        service, environment = (part.replace("/", "%2F") for part in key)
    return f"{SCOPE_PREFIX}{service}/{environment}"


def scope_of(name: str) -> ScopeKey:
    """Key of the scope that a block belongs to.

    Examples
    --------
    >>> scope_of("rows/a%2Fb/c"), scope_of("ledger/shop/production/20500").service
    (ScopeKey(service='a/b', environment='c'), 'shop')
    """
    service, environment = (p.replace("%2F", "/") for p in name.split("/")[1:3])
    return ScopeKey(service, environment)


def rows_name(key: ScopeKey) -> str:
    """Name of the block of a scope's rows."""
    return f"{ROWS_PREFIX}{block_name(key).removeprefix(SCOPE_PREFIX)}"


def steps_name(key: ScopeKey, number: int) -> str:
    """Name of a block of steps, counted since the rows were written whole."""
    tail = block_name(key).removeprefix(SCOPE_PREFIX)
    return f"{STEPS_PREFIX}{tail}/{number}"


def day_name(key: ScopeKey, day: int) -> str:
    """Name of the block of a scope's day, counted from 1970-01-01."""
    return f"{DAY_PREFIX}{block_name(key).removeprefix(SCOPE_PREFIX)}/{day}"


def read_block(
    blocks: Mapping[str, bytes], name: str, kind: type[Block], newest: int = VERSION
) -> Block:
    """One block, decoded.

    Raises
    ------
    StateError
        If it is missing, newer than ``newest``, or damaged.
    """
    try:
        block = decode_block(blocks, name, kind)
    except StateError:
        _refuse_newer(_version_of(blocks.get(name, b"")), name, newest)
        raise
    _refuse_newer(block.version, name, newest)
    return block


def read_scope(blocks: Mapping[str, bytes], name: str) -> ScopeBlock:
    """The block of a scope, of whatever version.

    Raises
    ------
    StateError
        If it is newer than this code, or damaged.
    """
    try:
        return read_block(blocks, name, ScopeBlock)
    except StateError:
        if not 1 <= _version_of(blocks[name]) <= NAMED_VERSION:
            raise
    try:
        old: dict[str, Any] = msgspec.msgpack.decode(blocks[name])
        scope = without_names(old["scope"], Scope)
        found: ScopeBlock = _decoder(ScopeBlock).decode(encode({**old, "scope": scope}))
        return found
    except (msgspec.DecodeError, ValueError, KeyError) as error:
        raise StateError(f"block {name} is damaged ({error}): rebuild it") from error


def forms_block() -> bytes:
    """In which order this code writes the fields of scopes and their windows."""
    found = FormsBlock(version=VERSION, forms=forms_of(Scope, StepsBlock))
    return encode(found)


def check_forms(blocks: Mapping[str, bytes]) -> None:
    """Refuse fields that lie in another order: each would be read as its neighbour.

    Raises
    ------
    StateError
        With the name of the first such field.
    """
    written = read_block(blocks, FORMS_BLOCK, FormsBlock).forms
    if wrong := disagreement(written, forms_of(Scope, StepsBlock)):
        raise StateError(f"field {wrong} stands elsewhere than it was written")


def _version_of(block: bytes) -> int:
    """The version of a block that can not be read otherwise; 0 if not even that."""
    try:
        found: Versioned = _decoder(Versioned).decode(block)
        return found.version
    except msgspec.DecodeError:
        return 0


def _refuse_newer(version: int, name: str, newest: int) -> None:
    if version > newest:
        raise StateError(
            f"block {name} has version {version}, this code reads up to {newest}: "
            "start the newer release of hypercare"
        )


def decode_block(
    blocks: Mapping[str, bytes], name: str, kind: type[Decoded]
) -> Decoded:
    """The same of a block whose version stands elsewhere."""
    try:
        found: Decoded = _decoder(kind).decode(blocks[name])
        return found
    except KeyError as error:
        raise StateError(f"block {name} is missing: rebuild the state") from error
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise StateError(f"block {name} is damaged ({error}): rebuild it") from error


@cache
def _decoder(kind: type[Decoded]) -> msgspec.msgpack.Decoder[Decoded]:
    return msgspec.msgpack.Decoder(kind)
