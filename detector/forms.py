"""Fields of the state without their names: which of them stands where.

Since version 3 a scope is written as values in the order of their fields, which takes
a third less than with names. A field that is put between others would then be read as
its neighbour, so a partition says the order it was written in, and a reader compares:
fields may be added at the end, with defaults, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import msgspec
import msgspec.inspect as kinds

Forms = dict[str, list[str]]
"""Names of the fields of each form, in order."""


@cache
def forms_of(*tops: type[msgspec.Struct]) -> Forms:
    """Forms that are written without names, inside the values of some types.

    Examples
    --------
    >>> from detector.windows import SeenBad
    >>> forms_of(SeenBad)
    {'windows.SeenBad': ['hours']}
    """
    found = {
        _name_of(one.cls): [field.encode_name for field in one.fields]
        for top in tops
        for one in _structs(kinds.type_info(top), set())
        if one.array_like
    }
    return dict(sorted(found.items()))


def disagreement(written: Mapping[str, list[str]], known: Forms) -> str:
    """The first field that does not stand where it was written; empty if all do.

    Examples
    --------
    >>> disagreement({"a.B": ["x", "z"]}, {"a.B": ["x", "y", "z"]})
    'z of a.B'
    """
    for name, fields in sorted(written.items()):
        for old, new in zip(fields, known.get(name, fields), strict=False):
            if old != new:
                return f"{old} of {name}"
    return ""


def without_names(value: Any, top: type[msgspec.Struct]) -> Any:
    """What was written with names, as it is written without.

    Raises
    ------
    ValueError
        If a field without default is missing.
    """
    return _ordered(value, kinds.type_info(top))


def _ordered(value: Any, kind: kinds.Type) -> Any:
    if isinstance(kind, kinds.UnionType) and value is not None:
        kind = next(k for k in kind.types if not isinstance(k, kinds.NoneType))
    if isinstance(kind, kinds.StructType):
        return _fields(value, kind)
    if isinstance(kind, kinds.DictType) and isinstance(value, dict):
        return {key: _ordered(one, kind.value_type) for key, one in value.items()}
    if isinstance(kind, kinds.ListType) and isinstance(value, list):
        return [_ordered(one, kind.item_type) for one in value]
    return value


def _fields(value: Any, kind: kinds.StructType) -> Any:
    if isinstance(value, dict) and kind.array_like:
        return [
            _ordered(value[field.encode_name], field.type)
            if field.encode_name in value
            else _default(field)
            for field in kind.fields
        ]
    if isinstance(value, list):
        pairs = zip(value, kind.fields, strict=False)
        return [_ordered(one, field.type) for one, field in pairs]
    return value


def _default(field: kinds.Field) -> Any:
    if field.default is not msgspec.NODEFAULT:
        return field.default
    if field.default_factory is msgspec.NODEFAULT:
        raise ValueError(f"field {field.name} is missing")
    return field.default_factory()


def _structs(
    kind: kinds.Type, seen: set[type[msgspec.Struct]]
) -> Iterator[kinds.StructType]:
    """Every struct inside a type, once."""
    if isinstance(kind, kinds.StructType) and kind.cls not in seen:
        seen.add(kind.cls)
        yield kind
        for field in kind.fields:
            yield from _structs(field.type, seen)
    for inner in _inner(kind):
        yield from _structs(inner, seen)


def _inner(kind: kinds.Type) -> tuple[kinds.Type, ...]:
    if isinstance(kind, kinds.DictType):
        return (kind.key_type, kind.value_type)
    if isinstance(kind, kinds.CollectionType):
        return (kind.item_type,)
    if isinstance(kind, kinds.UnionType):
        return kind.types
    if isinstance(kind, kinds.TupleType):
        return kind.item_types
    return ()


def _name_of(form: type) -> str:
    return f"{form.__module__.removeprefix('detector.')}.{form.__name__}"
