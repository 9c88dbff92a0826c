"""Recorded traffic of one release, split at random into control and candidate (A/A).

A block of the history is drawn; in its second part every user, session or single
record goes to a pretend release with its share, and the counts of an aggregate are
divided as if each of its sessions had. Whatever happened in the block, outages and
ramps of traffic too, happened to both: taking the pretend release back is wrong.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec
import numpy as np

from detector.replay import arrival_ms

Json = dict[str, Any]

KINDS = frozenset({"usage", "error", "latency", "feedback"})
PAST_MS = 3_600_000
BLOCK_MS = 4 * 3_600_000
SHARES = (0.05, 0.25, 0.5)
PRETEND = "pretend-candidate"
COUNTED = ("count", "sessions", "users", "score_sum")
WHOLE = ("users_sketch", "outcomes", "exponential", "previous_session")
"""What can not be divided: such a record goes to one of the two as it is."""


class Timed(NamedTuple):
    """The members of one line that are kept, and when it arrived."""

    arrival_ms: int
    members: list[Json]


class History(NamedTuple):
    """Telemetry of the release that served most, as that release alone."""

    service: str
    release: str
    lines: list[Timed]

    @classmethod
    def of(cls, lines: Iterable[bytes], service: str | None = None) -> History:
        """The history of a service, or of the one with the most records.

        Raises
        ------
        LookupError
            If there is no telemetry, or none of the service.
        """
        read: list[Timed] = []
        served: Counter[tuple[str, str]] = Counter()
        now_ms = 0
        for line in lines:
            now_ms = arrival_ms(line, now_ms)
            members = [m for m in _members(line) if m.get("kind") in KINDS]
            served.update(
                (m["service"], m["release"]) for m in members if m["kind"] == "usage"
            )
            if members:
                read.append(Timed(now_ms, members))
        chosen = [key for key, _ in served.most_common() if service in (None, key[0])]
        if not chosen:
            known = ", ".join(sorted({name for name, _ in served})) or "none"
            raise LookupError(
                f"no usage of {service or 'any service'} in this history: it has "
                f"usage of {known}"
            )
        name, release = chosen[0]
        kept = [
            Timed(
                one.arrival_ms,
                [
                    m
                    for m in one.members
                    if m["service"] == name and m["release"] == release
                ],
            )
            for one in read
        ]
        return cls(name, release, [one for one in kept if one.members])


class Block(NamedTuple):
    """Lines for the core, the pretend release and when it was deployed."""

    lines: list[bytes]
    release: str
    deploy_ms: int


def block_of(history: History, rng: np.random.Generator) -> Block:
    """A block of up to four hours, at random; the last three quarters are split."""
    first, last = history.lines[0].arrival_ms, history.lines[-1].arrival_ms
    length = min(BLOCK_MS, last - first)
    start = first + int(rng.uniform(0, last - first - length + 1))
    past = min(PAST_MS, length // 4)
    deploy_ms = start + past
    share = float(rng.choice(SHARES))
    key = rng.integers(0, 2**63, 2).tolist()
    lines: list[bytes] = []
    deployed = False
    for one in history.lines:
        if not start <= one.arrival_ms <= start + length:
            continue
        if one.arrival_ms >= deploy_ms and not deployed:
            deployed = True
            lines.append(_encoded([_deploy(history, one, deploy_ms, share)]))
        members = one.members
        if deployed:
            members = [
                half for m in members for half in _split(m, share, key, deploy_ms, rng)
            ]
        stamped = [{**m, "received_at": one.arrival_ms} for m in members]
        if stamped:
            lines.append(_encoded(stamped))
    return Block(lines, PRETEND, deploy_ms)


def _deploy(history: History, one: Timed, deploy_ms: int, share: float) -> Json:
    found = {
        "kind": "deploy",
        "ts": deploy_ms,
        "received_at": one.arrival_ms,
        "service": history.service,
        "release": PRETEND,
        "predecessor": history.release,
        "phase": "started",
        "strategy": "canary",
        "weight": share,
        "id": f"pretend-{deploy_ms}",
    }
    environment = one.members[0].get("environment")
    return found if environment is None else {**found, "environment": environment}


def _split(
    member: Json, share: float, key: list[int], deploy_ms: int, rng: np.random.Generator
) -> list[Json]:
    """The record as control's, candidate's, or both."""
    if member["ts"] < deploy_ms:
        return [member]
    other = {**member, "release": PRETEND}
    if "id" in member:
        other["id"] = f"{member['id']}/aa"
    who = member.get("session") or member.get("user") or member.get("trace_id")
    if who is not None:
        return [other if _part(str(who), key) < share else member]
    divisible = not any(name in member for name in WHOLE)
    if divisible and "counts" in member:
        return _divided(member, other, "counts", share, rng)
    if divisible and ("count" in member or "sessions" in member):
        return _divided(member, other, "", share, rng)
    return [other if rng.random() < share else member]


def _divided(
    member: Json, other: Json, listed: str, share: float, rng: np.random.Generator
) -> list[Json]:
    """An aggregate in two: each session, event or duration goes its own way."""
    mine, beside = dict(other), dict(member)
    # Numbered anew, since two halves of one number would be one record.
    for half in (mine, beside):
        half.pop("seq", None)
    if listed:
        counts = np.asarray(member[listed])
        drawn = rng.binomial(counts.astype(np.int64), share)
        mine[listed], beside[listed] = drawn.tolist(), (counts - drawn).tolist()
        return [half for half in (beside, mine) if sum(half[listed])]
    base = next(n for n in ("sessions", "users", "count") if n in member)
    whole = int(member[base])
    drawn_base = int(rng.binomial(whole, share))
    for name in COUNTED:
        if name in member:
            of = member[name] * (drawn_base / whole if whole else 0.0)
            part = drawn_base if name == base else of
            if name != "score_sum":
                part = min(round(part), int(member[name]))
            mine[name], beside[name] = part, member[name] - part
    return [half for half in (beside, mine) if half[base]]


def _part(who: str, key: list[int]) -> float:
    """A number in 0..1 of a unit, the same wherever it occurs in the block."""
    salted = f"{key[0]}/{key[1]}/{who}".encode()
    digest = hashlib.blake2b(salted, digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def _members(line: bytes) -> list[Json]:
    try:
        whole = msgspec.json.decode(line)
    except (msgspec.DecodeError, RecursionError):
        return []
    return [m for m in (whole if isinstance(whole, list) else [whole]) if _is_told(m)]


def _is_told(member: Any) -> bool:
    return isinstance(member, dict) and {"service", "release", "ts"} <= member.keys()


def _encoded(members: list[Json]) -> bytes:
    return msgspec.json.encode(members)
