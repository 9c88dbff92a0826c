"""A history by service: each part alone gives the decisions it gives in the whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from msgspec import Struct

from detector.events import EVERY_SERVICE
from detector.replay import arrival_ms

Json = dict[str, Any]


def by_service(lines: Iterable[bytes]) -> dict[str, list[bytes]]:
    """Lines of a recording by the service they are about, in their order.

    A line about several services becomes a line for each; one for ``all`` services
    goes to those seen so far, as in ``hypercare record``. A member keeps the arrival
    time of its whole line. What is not JSON decides nothing and is left out.

    Parameters
    ----------
    lines : iterable of bytes
        Envelopes or arrays of them, in arrival order.
    """
    found: dict[str, list[bytes]] = {}
    for service, line in shared_lines(lines):
        found.setdefault(service, []).append(line)
    return found


def shared_lines(lines: Iterable[bytes]) -> Iterator[tuple[str, bytes]]:
    """The same one after the other, for a history that is larger than memory."""
    known: dict[str, None] = {}
    so_far_ms = 0
    for line in lines:
        so_far_ms = arrival_ms(line, so_far_ms)
        alone = _alone(line, so_far_ms)
        if alone is not None:
            known[alone] = None
            yield alone, line.strip()
            continue
        for service, members in _shared(line, known).items():
            known[service] = None
            at_ms = {"received_at": so_far_ms}
            stamped = [{**at_ms, **member, **at_ms} for member in members]
            yield service, msgspec.json.encode(stamped)


class _Head(Struct):
    service: str = EVERY_SERVICE
    received_at: int | None = None


_heads: msgspec.json.Decoder[list[_Head] | _Head] = msgspec.json.Decoder(
    list[_Head] | _Head
)


def _alone(line: bytes, at_ms: int) -> str | None:
    """The service of a line that can stay as it is: about one, with its arrival."""
    try:
        heads = _heads.decode(line)
    except (msgspec.DecodeError, RecursionError):
        return None
    several = heads if isinstance(heads, list) else [heads]
    services = {head.service for head in several}
    if len(services) != 1 or EVERY_SERVICE in services:
        return None
    whole = all(head.received_at == at_ms for head in several)
    return services.pop() if whole else None


def _shared(line: bytes, known: Iterable[str]) -> dict[str, list[Json]]:
    try:
        whole = msgspec.json.decode(line)
    except (msgspec.DecodeError, RecursionError):
        return {}
    shared: dict[str, list[Json]] = {}
    for member in whole if isinstance(whole, list) else [whole]:
        service = member.get("service") if isinstance(member, dict) else None
        if not isinstance(service, str):
            continue
        for name in known if service == EVERY_SERVICE else (service,):
            shared.setdefault(name, []).append({**member, "service": name})
    return shared
