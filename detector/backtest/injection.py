"""Synthetic regressions in recorded history: of chosen size, time and segment.

Only records of one release, from the onset on and inside the segment, are changed; a
line without any keeps its bytes, and so does every other member of a line with some.
Everything is drawn from one seed: same lines, same injection, same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import numpy as np

from detector.backtest.injectdrops import Drop
from detector.backtest.injectfailures import Failures, Past
from detector.backtest.injectlatency import slower
from detector.events import DEFAULT_ENVIRONMENT
from detector.identity import id64

Json = dict[str, Any]
_Change = Callable[[Json], list[Json]]
What = Literal["errors", "latency", "usage", "actions"]

_raws = msgspec.json.Decoder(list[msgspec.Raw])


@dataclass(frozen=True)
class Injection:
    """A regression that a release gets.

    Attributes
    ----------
    service, environment, release : str
        Whom.
    onset_ms : int
        Records whose covered time begins then or later are changed; epoch ms.
    what : str
        ``errors``: `size` times as many failed units as the service's own rate of
        that hour and attributes makes expected, 1 or more. ``latency``: durations
        times `size`, above 0. ``usage``: the share `size` of sessions, else requests,
        is gone with its errors and durations, 0..1. ``actions``: that share of
        requests is gone, the sessions are not.
    size : float
        How much.
    segment : tuple of (str, str)
        Attributes that a record must have; () is everywhere.
    seed : int
        Begins the draws.
    """

    service: str
    environment: str
    release: str
    onset_ms: int
    what: What
    size: float
    segment: tuple[tuple[str, str], ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse sizes that are none.

        Raises
        ------
        ValueError
            The size is outside its range.
        """
        share = self.what in ("usage", "actions")
        least = 1.0 if self.what == "errors" else 0.0
        if not least <= self.size or (share and self.size > 1) or self.size > 1000:
            raise ValueError(f"{self.what}: {self.size} is no size for it")

    def hits(self, member: Json) -> bool:
        """Whether a record is one that the regression reaches."""
        attrs = member.get("attrs") or {}
        return (
            member.get("release") == self.release
            and member.get("service") == self.service
            and member.get("environment", DEFAULT_ENVIRONMENT) == self.environment
            and member.get("kind") in ("usage", "error", "latency")
            and not member.get("synthetic")
            and isinstance(member.get("ts"), int)
            and member["ts"] >= self.onset_ms
            and all(attrs.get(key) == value for key, value in self.segment)
        )


def inject(lines: Iterable[bytes], injection: Injection) -> list[bytes]:
    """The lines with the regression in them.

    Parameters
    ----------
    lines : iterable of bytes
        Envelopes or arrays of them, in arrival order, as ``judge`` takes them.

    Raises
    ------
    ValueError
        Errors are to be multiplied, and the service has none in the lines.
    """
    given = list(lines)
    change = _changer(given, injection)
    made = (_changed(line, injection, change) for line in given)
    return [line for line in made if line]


def _changer(lines: list[bytes], injection: Injection) -> _Change:
    # The size is no part of it: the same units are hit first, whatever the size.
    name = f"{injection.service}/{injection.environment}/{injection.release}"
    seed = [injection.seed, id64(name) % 2**63]
    rng = np.random.default_rng(seed)
    if injection.what == "latency":
        return lambda member: [slower(member, injection.size, rng)]
    if injection.what == "errors":
        past = Past(_members(lines), injection.service, injection.environment)
        if not past.has_failures:
            raise ValueError(
                f"{name}: its history has no failed unit, so there is no rate to "
                "multiply: inject latency or a drop instead"
            )
        return Failures(past, injection.size, seed, rng).change
    cells = _members(lines) if injection.what == "usage" else []
    return Drop(
        injection.what, injection.size, (m for m in cells if injection.hits(m)), seed
    ).change


def _members(lines: Iterable[bytes]) -> Iterator[Json]:
    for line in lines:
        for raw in _split(line) or ():
            member = _decoded(raw)
            if member is not None:
                yield member


def _split(line: bytes) -> list[msgspec.Raw] | None:
    """The members of a line; None for one that is no JSON, which decides nothing."""
    text = line.strip()
    try:
        return _raws.decode(text) if text[:1] == b"[" else [msgspec.Raw(text)]
    except (msgspec.DecodeError, RecursionError):
        return None


def _decoded(raw: msgspec.Raw) -> Json | None:
    try:
        found = msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _changed(line: bytes, injection: Injection, change: _Change) -> bytes:
    # Cheap and safe: a release's name is spelt with letters that need no escape.
    if injection.release.encode() not in line:
        return line
    out: list[bytes] = []
    touched = False
    for raw in _split(line) or ():
        member = _decoded(raw)
        if member is None or not injection.hits(member):
            out.append(bytes(raw))
            continue
        found = change(member)
        if found == [member]:
            out.append(bytes(raw))
            continue
        touched = True
        out += [msgspec.json.encode(one) for one in found]
    if not touched:
        return line
    if not out:
        return b""
    whole = len(out) == 1 and line.lstrip()[:1] == b"{"
    return out[0] if whole else b"[" + b",".join(out) + b"]"
