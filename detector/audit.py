"""Records of the audit: what each is about, and where two of them differ.

The audit keeps verdicts, revisions of recommendations and what people told, as the
very bytes that were published.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from enum import StrEnum
from typing import Any, NamedTuple

import msgspec

from detector.events import EVERY_SERVICE
from detector.wire import scope_name

Json = dict[str, Any]

MISSING = "nothing"
"""Stands for a field that one of two records does not have."""


class Kind(StrEnum):
    """What a record of the audit says."""

    VERDICT = "verdict"
    RECOMMENDATION = "recommendation"
    COMMAND = "command"
    DAMAGED = "damaged"


class Audited(NamedTuple):
    """One record of the audit.

    Attributes
    ----------
    place : str
        Where it stands, for messages.
    value : bytes
        The record itself.
    kind : Kind
        ``damaged`` where it is none of ours.
    name : str
        By what a second copy is recognised. Offsets are no part of it.
    body : dict
        The record read as JSON; empty where it can not be.
    """

    place: str
    value: bytes
    kind: Kind
    name: str
    body: Json

    @property
    def offset(self) -> int:
        """Offset of the log's record that made it so; -1 where it does not say."""
        of_verdict = self.body.get("offset")
        found = self.body.get("evidence_offset") if of_verdict is None else of_verdict
        return found if isinstance(found, int) else -1

    @property
    def service(self) -> str:
        """The service it is about, the word for all of them, or nothing."""
        found = self.body.get("service")
        return found if isinstance(found, str) else ""

    @property
    def is_for_all(self) -> bool:
        """Whether it is about every service of its partition."""
        return self.service == EVERY_SERVICE

    @property
    def about(self) -> str:
        """service/environment/release[/component] of what it is about."""
        return about(self.body)


class Difference(NamedTuple):
    """The first field in which two records differ, and what each of them says."""

    field: str
    audited: str
    replayed: str


def about(body: Json) -> str:
    """service/environment/release[/component] that a record names."""
    parts = (body.get(f) for f in ("service", "environment", "release", "component"))
    service, environment, release, component = (str(p) if p else "" for p in parts)
    return scope_name(service, environment, release, component or None)


def read(place: str, value: bytes) -> Audited:
    """Any bytes as a record of the audit."""
    try:
        body = msgspec.json.decode(value)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        body = None
    if not isinstance(body, dict):
        return Audited(place, value, Kind.DAMAGED, "", {})
    if "command" in body:
        facts: tuple[str, ...] = (
            "command",
            "service",
            "environment",
            "at",
            "recommendation_id",
        )
        kind = Kind.COMMAND
    elif "verdict" in body and "window_end" in body:
        facts = ("decided_at", "window_end")
        kind = Kind.VERDICT
    elif "revision" in body and "id" in body:
        facts = ("id", "revision", "issued_at")
        kind = Kind.RECOMMENDATION
    else:
        return Audited(place, value, Kind.DAMAGED, "", body)
    told = "\x1f".join(str(body.get(fact)) for fact in facts)
    return Audited(place, value, kind, f"{kind}\x1f{about(body)}\x1f{told}", body)


def stripped(record: Audited, apart: Collection[str]) -> bytes:
    """The bytes of a record, without the fields that are set apart."""
    if not apart or not record.body:
        return record.value
    kept = {name: value for name, value in record.body.items() if name not in apart}
    return msgspec.json.encode(kept)


def difference(
    audited: Audited, replayed: Audited, apart: Collection[str] = ()
) -> Difference | None:
    """The first difference of two records in the order of their fields; None if equal.

    Examples
    --------
    >>> one, other = (read("", b'{"verdict":"healthy","window_end":1,"log_e":%d}' % n)
    ...               for n in (3, 4))
    >>> difference(one, other)
    Difference(field='log_e', audited='3', replayed='4')
    """
    left, right = stripped(audited, apart), stripped(replayed, apart)
    if left == right:
        return None
    if audited.body and replayed.body:
        names = dict.fromkeys((*replayed.body, *audited.body))
        for name in names:
            if name in apart:
                continue
            pair = audited.body.get(name, ...), replayed.body.get(name, ...)
            found = _inside(name, *pair)
            if found is not None:
                return found
    same = next(
        (n for n, (a, b) in enumerate(zip(left, right, strict=False)) if a != b),
        min(len(left), len(right)),
    )
    around = slice(max(0, same - 12), same + 12)
    return Difference(f"byte {same}", repr(left[around]), repr(right[around]))


def _inside(path: str, audited: Any, replayed: Any) -> Difference | None:
    """Where two values differ first, however deep."""
    if type(audited) is type(replayed) and isinstance(audited, dict):
        for name in dict.fromkeys((*replayed, *audited)):
            pair = audited.get(name, ...), replayed.get(name, ...)
            found = _inside(f"{path}.{name}", *pair)
            if found is not None:
                return found
        return None
    if type(audited) is type(replayed) and isinstance(audited, list):
        for index in range(max(len(audited), len(replayed))):
            pair = _at(audited, index), _at(replayed, index)
            found = _inside(f"{path}[{index}]", *pair)
            if found is not None:
                return found
        return None
    if audited == replayed and type(audited) is type(replayed):
        return None
    return Difference(path, _shown(audited), _shown(replayed))


def _at(values: list[Any], index: int) -> Any:
    return values[index] if index < len(values) else ...


def _shown(value: Any) -> str:
    return MISSING if value is ... else msgspec.json.encode(value).decode()


def without_copies(records: Iterable[Audited]) -> list[Audited]:
    """The records in their order; of equal ones, which a restart sends, the first."""
    return list({record.value: record for record in reversed([*records])}.values())[
        ::-1
    ]
