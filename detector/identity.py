"""Who and which record, without saying who: keyed hashes and idempotency ids.

User and session ids are hashed with a key where they enter, so that raw values
reach neither the log nor the state. Ids of records are text that is equal
exactly when two records are the same fact sent twice.
"""

from __future__ import annotations

import re
from functools import lru_cache
from hashlib import blake2b
from typing import TypeVar

import msgspec

from detector.events import Error, Event, Feedback, Latency, Usage
from detector.patterns import holds_address

KEY_BYTES_MIN = 16
REMEMBERED_CHARS_MAX = 128
"""A longer identity is hashed each time: what is remembered stays small."""

_HASHED = re.compile(r"h:[0-9a-f]{16}\Z")
_PERSON = b"hypercare"
_BLANK = blake2b(digest_size=8)

IDENTITIES = ("user", "session")
"""Fields that are always hashed: they name a person or what one person did."""

HASHED_WHEN_ADDRESS = (
    "id",
    "sender",
    "trace_id",
    "tenant",
    "actor",
    "owner",
    "roster",
    "recommendation_id",
)
"""Fields that are compared rather than read: an e-mail address in one becomes a
hash, which keeps two of them distinct. A tenant without an address stays as it
is, because it is a segment and must match the ``scope`` of a deploy."""

AnyEvent = TypeVar("AnyEvent", bound=msgspec.Struct)


def hash_identity(value: str, key: bytes) -> str:
    """The keyed hash that stands for a user or session everywhere inside.

    64 bits of keyed BLAKE2b (RFC 7693, section 2.9): among ten million users
    two share a hash with probability 3e-6. A value that is a hash already is
    returned as it is, so hashing at the edge and again at ingress is harmless.

    Parameters
    ----------
    value : str
        The raw identifier.
    key : bytes
        The secret of the installation, 16 bytes or more. Another key gives
        other hashes: users seen before and after the change count twice.

    Raises
    ------
    ValueError
        When the key is shorter than 16 bytes.

    Examples
    --------
    >>> hashed = hash_identity("alice", b"0123456789abcdef")
    >>> hashed
    'h:757b87ae6190a3ac'
    >>> hash_identity(hashed, b"0123456789abcdef") == hashed
    True
    """
    if _HASHED.match(value):
        return value
    return _hashed(_begun(key), value)


def _begun(key: bytes) -> blake2b:
    """The hash that all identities of one key begin with."""
    if len(key) < KEY_BYTES_MIN:
        raise ValueError(
            f"the identity key has {len(key)} bytes, it needs {KEY_BYTES_MIN} or more"
        )
    # BLAKE2b takes keys up to 64 bytes; a longer secret is folded, not refused.
    short = key if len(key) <= 64 else blake2b(key, digest_size=64).digest()
    return blake2b(digest_size=8, key=short, person=_PERSON)


def _hashed(begun: blake2b, value: str) -> str:
    hashed = begun.copy()
    hashed.update(value.encode("utf-8", "surrogatepass"))
    return "h:" + hashed.hexdigest()


class IdentityHasher:
    """Hashes of many identities under one key, the last seen of them remembered.

    Parameters
    ----------
    key : bytes
        The secret of the installation, 16 bytes or more.
    remembered : int
        Most identities kept; beyond, all are forgotten and hashed again.

    Examples
    --------
    >>> IdentityHasher(b"0123456789abcdef").hash("alice")
    'h:757b87ae6190a3ac'
    """

    def __init__(self, key: bytes, remembered: int = 65_536) -> None:
        self._begun = _begun(key)
        self._max = remembered
        self._known: dict[str, str] = {}

    def hash(self, value: str) -> str:
        """What ``hash_identity`` gives for the value and this key."""
        found = self._known.get(value)
        if found is None:
            is_hash = _HASHED.match(value) is not None
            found = value if is_hash else _hashed(self._begun, value)
            if len(value) <= REMEMBERED_CHARS_MAX:
                if len(self._known) >= self._max:
                    self._known.clear()
                self._known[value] = found
        return found


def hash_identities(event: AnyEvent, key: bytes) -> AnyEvent:
    """The event with user and session hashed, and addresses in ids hashed too.

    Together with ``detector.redact.scrub``, in either order, no e-mail address
    survives in any field.
    """
    changes: dict[str, str] = {}
    for field in IDENTITIES:
        value = getattr(event, field, None)
        if value is not None:
            changes[field] = hash_identity(value, key)
    for field in HASHED_WHEN_ADDRESS:
        value = getattr(event, field, None)
        if value is not None and holds_address(value):
            changes[field] = hash_identity(value, key)
    return msgspec.structs.replace(event, **changes) if changes else event


def event_id(event: Event, topic: str, partition: int, offset: int, index: int) -> str:
    """The text by which a second copy of this record is recognised.

    Best first: the sender's own ``id``; (sender, seq, ts), where the time tells
    a restarted sender that counts from 0 again; the trace with kind, time and
    what was measured, because an envelope carries no span; the place in the
    log, which protects from reading it again and from nothing else.

    Service, kind and release are part of all but the last: a true copy shares
    them, and a request id put on a usage record and on its error stays two.
    NUL separates the parts; decoding refuses it in every field.

    Parameters
    ----------
    event : Event
        The decoded record.
    topic, partition, offset, index
        Where it was read; ``index`` counts the members of an array, the
        rejected ones too.
    """
    release = getattr(event, "release", None) or ""
    who = _who(event.service, type(event), release)
    if event.id is not None:
        return f"id\0{who}{event.id}"
    if isinstance(event, (Usage, Error, Latency, Feedback)):
        if event.sender is not None and event.seq is not None:
            return f"seq\0{who}{event.ts}\0{event.seq}\0{event.sender}"
        if event.trace_id is not None:
            return f"trace\0{who}{event.ts}\0{event.trace_id}\0{_measured(event)}"
    return f"at\0{topic}\0{partition}\0{offset}\0{index}"


def _who(service: str, kind: type, release: str) -> str:
    return f"{service}\0{kind.__name__}\0{release}\0"


class Marker:
    """Numbers of the senders' own ids, for records of a kind, service and release.

    What they have in common is hashed once.

    Examples
    --------
    >>> from detector.events import Usage
    >>> event = Usage(ts=0, service="a", release="1", id="x")
    >>> Marker("a", Usage, "1").mark("x") == id64(event_id(event, "", 0, 0, 0))
    True
    """

    def __init__(self, service: str, kind: type, release: str) -> None:
        who = _who(service, kind, release)
        self._begun = _begun_with(f"id\0{who}")
        self._numbered = _begun_with(f"seq\0{who}")

    def mark(self, own_id: str) -> int:
        """The 64-bit number of the record's id."""
        return _number(self._begun, own_id)

    def mark_numbered(self, place: str) -> int:
        """The same for a record that its sender has numbered.

        Examples
        --------
        >>> event = Usage(ts=3, service="a", release="1", seq=5, sender="x")
        >>> number = id64(event_id(event, "", 0, 0, 0))
        >>> Marker("a", Usage, "1").mark_numbered("\\0".join("35x")) == number
        True

        Parameters
        ----------
        place : str
            Time, number and sender with NUL between.
        """
        hashed = self._numbered.copy()
        hashed.update(place.encode("utf-8", "surrogatepass"))
        return int.from_bytes(hashed.digest(), "big", signed=True)


@lru_cache(maxsize=4096)
def marker_of(service: str, kind: type, release: str) -> Marker:
    """The same one for all who ask."""
    return Marker(service, kind, release)


def _begun_with(text: str) -> blake2b:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8)


def _measured(event: Usage | Error | Latency | Feedback) -> str:
    """What tells two records of one trace in one millisecond apart."""
    match event:
        case Usage():
            return f"{event.unit}\0{event.step}\0{event.duration_ms}"
        case Error():
            return f"{event.signature}\0{event.type}\0{event.message}"
        case Latency():
            return f"{event.step}"
        case Feedback():
            return f"{event.channel}\0{event.text}"


def id64(text: str) -> int:
    """A 64-bit signed number for a text, the same in every process and version.

    Two of 2 million remembered ids collide with probability 1.1e-7
    (n^2 / 2^65, the birthday bound).
    """
    return _number(_BLANK, text)


def _number(begun: blake2b, text: str) -> int:
    # A copy of a hash that was begun costs half of a new one.
    hashed = begun.copy()
    hashed.update(text.encode("utf-8", "surrogatepass"))
    return int.from_bytes(hashed.digest(), "big", signed=True)


@lru_cache(maxsize=4096)
def sender_id(name: str | None) -> int:
    """The same for a sender, of whom there are few and each again and again."""
    return id64(name or "")
