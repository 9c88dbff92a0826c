"""Which fields of an event are names and which are free text, read off the types.

Redaction and the checks walk these tables, so a field added to
``detector.events`` is covered by both without a second list to remember.
"""

from __future__ import annotations

from typing import NamedTuple, get_args

import msgspec
from msgspec import inspect

from detector.events import Event

KINDS: tuple[type[msgspec.Struct], ...] = get_args(Event)


class Shape(NamedTuple):
    """The fields of one structure by what text they can hold.

    ``names`` are bounded identifiers, ``texts`` free text, ``lists`` lists of
    free text, ``maps`` objects whose values are text or names, ``structs``
    nested structures with text of their own.
    """

    names: tuple[str, ...]
    texts: tuple[str, ...]
    lists: tuple[str, ...]
    maps: tuple[str, ...]
    structs: tuple[str, ...]


def _plain(kind: inspect.Type) -> inspect.Type:
    """The type without ``| None`` and without its annotations."""
    if isinstance(kind, inspect.Metadata):
        return _plain(kind.type)
    if isinstance(kind, inspect.UnionType):
        rest = [t for t in kind.types if not isinstance(t, inspect.NoneType)]
        return _plain(rest[0]) if len(rest) == 1 else kind
    return kind


def _group(kind: inspect.Type) -> str | None:
    """The ``Shape`` field that a type belongs to, if it can hold text."""
    match _plain(kind):
        case inspect.StrType(pattern=pattern):
            return "texts" if pattern is None else "names"
        case inspect.ListType(item_type=item) if _group(item) is not None:
            return "lists"
        case inspect.DictType(key_type=key) if _group(key) is not None:
            return "maps"
        case inspect.StructType(fields=fields) if any(_group(f.type) for f in fields):
            return "structs"
    return None


def shape_of(struct: type[msgspec.Struct]) -> Shape:
    """Sort the fields of a structure by the text they can hold."""
    info = inspect.type_info(struct)
    groups: dict[str, list[str]] = {name: [] for name in Shape._fields}
    for entry in getattr(info, "fields", ()):
        group = _group(entry.type)
        if group is not None:
            groups[group].append(entry.name)
    return Shape(**{name: tuple(fields) for name, fields in groups.items()})


def _nested(struct: type[msgspec.Struct]) -> list[type[msgspec.Struct]]:
    """The structures inside a structure that can hold text."""
    found = []
    for entry in getattr(inspect.type_info(struct), "fields", ()):
        plain = _plain(entry.type)
        if isinstance(plain, inspect.StructType) and _group(plain) is not None:
            found.append(plain.cls)
    return found


SHAPES: dict[type, Shape] = {
    struct: shape_of(struct) for kind in KINDS for struct in (kind, *_nested(kind))
}
"""Shape of every kind and of every structure with text nested in one."""
