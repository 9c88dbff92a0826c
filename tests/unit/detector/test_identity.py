"""Keyed hashes and idempotency ids: stable, distinct, and only once."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from detector.decode import decode
from detector.events import Deploy, Error, Event, Usage
from detector.identity import event_id, hash_identities, hash_identity, id64
from tests.unit.detector.samples import encoded

KEY = b"0123456789abcdef"
PLACE = ("hypercare.events", 3, 77, 0)


def usage(**changes: object) -> Usage:
    """The usage sample without its own id."""
    [event] = decode(encoded("usage", **{"id": ..., **changes}))
    assert isinstance(event, Usage)
    return event


def test_hash_is_applied_once() -> None:
    """Hashing a hash returns it, so edge and ingress may both hash."""
    once = hash_identity("alice", KEY)
    assert re.fullmatch(r"h:[0-9a-f]{16}", once)
    assert once == hash_identity(once, KEY)


def test_hash_depends_on_key() -> None:
    """Another key gives another hash; long keys are used whole."""
    keys = [KEY, KEY + b"x", KEY * 9, KEY * 9 + b"x"]
    assert 4 == len({hash_identity("alice", key) for key in keys})


def test_short_key_is_refused() -> None:
    """A key that can be guessed is refused with its length."""
    with pytest.raises(ValueError, match="3 bytes, it needs 16"):
        hash_identity("alice", b"abc")


def test_user_and_session_are_hashed() -> None:
    """Raw user and session are gone after hashing, the rest stays."""
    event = usage(user="alice", session="s-1")
    hashed = hash_identities(event, KEY)
    assert hash_identity("alice", KEY) == hashed.user
    assert hash_identity("s-1", KEY) == hashed.session
    assert ("acme", "pod-1") == (hashed.tenant, hashed.sender)
    assert "alice" == event.user


def test_address_in_actor_is_hashed() -> None:
    """Two people known by address stay two, and their addresses are gone."""
    deploys = [
        Deploy(ts=1, service="a", release="1", actor=actor)
        for actor in ("bob@example.com", "eve@example.com", "ci")
    ]
    first, second, third = (hash_identities(d, KEY).actor for d in deploys)
    assert first != second
    assert third == "ci"
    assert all(actor and actor.startswith("h:") for actor in (first, second))


def test_own_id_comes_first() -> None:
    """The sender's id decides, wherever the copy is read."""
    first, second = usage(id="r-1"), usage(id="r-1", seq=9, duration_ms=1.0)
    assert event_id(first, *PLACE) == event_id(second, "other", 0, 0, 5)


def test_sender_and_seq_come_next() -> None:
    """Without an id the sender's number and time decide."""
    same = event_id(usage(), *PLACE)
    assert same == event_id(usage(trace_id="other"), "other", 0, 0, 5)
    assert same != event_id(usage(seq=5), *PLACE)
    assert same != event_id(usage(ts=5), *PLACE)


def test_trace_needs_kind_and_time() -> None:
    """A trace alone is no identity: kind, time and detail belong to it."""
    first = event_id(usage(seq=...), *PLACE)
    error: Event = Error(
        ts=usage().ts,
        service="checkout",
        release="shop@1.2.3",
        trace_id=usage().trace_id,
    )
    others = [usage(seq=..., ts=1), usage(seq=..., step="cart"), error]
    assert first == event_id(usage(seq=...), "other", 0, 0, 5)
    assert 4 == len({first, *(event_id(other, *PLACE) for other in others)})


def test_place_is_the_last_resort() -> None:
    """Without anything else the place in the log decides."""
    bare = usage(seq=..., trace_id=...)
    assert event_id(bare, *PLACE) == event_id(bare, *PLACE)
    assert event_id(bare, *PLACE) != event_id(bare, *PLACE[:3], 1)


def test_same_id_on_other_kind() -> None:
    """A request id on a usage and on its error are two records."""
    error = Error(ts=1, service="checkout", release="shop@1.2.3", id="r-1")
    assert event_id(usage(id="r-1"), *PLACE) != event_id(error, *PLACE)


def test_id64_is_stable_everywhere() -> None:
    """The number of a text is the same in another process and hash seed."""
    code = "from detector.identity import id64; print(id64('a\\0b'))"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, text=True
    )
    assert id64("a\0b") == int(found.stdout)
    assert 4681665781835383343 == id64("a")


def test_id64_fills_signed_range() -> None:
    """Numbers are distinct, of both signs, and fit 64 bits."""
    found = {id64(str(i)) for i in range(10_000)}
    assert 10_000 == len(found)
    assert min(found) < -(2**62) < 2**62 < max(found) < 2**63
