"""Single usage and error events made ready for the log without decoding them whole.

Almost everything that comes in is one of these, and almost all of them share their
service, release and attributes. What those become (checked, scrubbed, written
canonically) is found out once for each shape, by the same code that treats every
other event; only identities, times and texts are looked at event by event. The
bytes are those of the long way (``tests/property/test_ingress_plain.py``).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
from msgspec import Raw

from detector.events import Error, Usage
from detector.groups.light import (
    NO_ATTRS,
    Light,
    LightError,
    LightUsage,
    Shape,
    ShapeKey,
    full,
    key_of,
    shape_of,
)
from detector.identity import IdentityHasher, hash_identities
from detector.patterns import holds_address
from detector.redact import redact_url, scrub

SHAPES_MAX = 16_384
TEXTS_MAX = 4_096
"""Shapes and texts remembered; beyond, all are forgotten and learnt again."""

TEXT_CHARS_MAX = 512
"""Longer texts are scrubbed each time: what is remembered stays small."""

_encode = msgspec.json.Encoder().encode


class _Clean(NamedTuple):
    """What the common part of a shape's events is in the log."""

    attrs: Raw
    sender: str | None


class Plain:
    """Makes light events ready for the log.

    Parameters
    ----------
    identity_key : bytes
        With what users and sessions are hashed.
    """

    def __init__(self, identity_key: bytes) -> None:
        self._key = identity_key
        self._hash = IdentityHasher(identity_key).hash
        self._clean: dict[ShapeKey, _Clean | None] = {}
        self._texts: dict[Any, Any] = {}

    def admit(
        self, event: Light, place: tuple[str, int, int, int], timestamp_ms: int
    ) -> bool:
        """Make one event ready in place; False where only the long way can tell.

        ``place`` is topic, partition, offset and number in the record.
        """
        key = key_of(event)
        try:
            clean = self._clean[key]
        except KeyError:
            clean = self._learn(key)
        if clean is None:
            return False
        event.attrs = clean.attrs
        event.sender = clean.sender
        self._identify(event, place)
        if event.received_at is None:
            event.received_at = timestamp_ms
        if event.url:
            event.url = self._text(event.url)
        if isinstance(event, LightError):
            self._mask_detail(event)
        return True

    def _identify(self, event: Light, place: tuple[str, int, int, int]) -> None:
        """Hash who it was, and name the event where its sender did not."""
        if event.user is not None:
            event.user = self._hash(event.user)
        if event.session is not None:
            event.session = self._hash(event.session)
        if event.id is not None:
            if holds_address(event.id):
                event.id = self._hash(event.id)
        elif event.trace_id is None:
            topic, partition, offset, index = place
            event.id = f"at:{topic}:{partition}:{offset}:{index}"
        if event.trace_id is not None and holds_address(event.trace_id):
            event.trace_id = self._hash(event.trace_id)
        if event.tenant is not None and holds_address(event.tenant):
            event.tenant = self._hash(event.tenant)

    def _learn(self, key: ShapeKey) -> _Clean | None:
        if len(self._clean) >= SHAPES_MAX:
            self._clean.clear()
        shape = shape_of(key)
        found = self._clean[key] = None if shape is None else self._cleaned(shape)
        return found

    def _cleaned(self, shape: Shape) -> _Clean | None:
        """The long way, walked once for all events of a shape."""
        kind = LightUsage if shape.is_usage else LightError
        bare = full(kind(ts=0, service=shape.service, release=shape.release), shape)
        event = scrub(hash_identities(bare, self._key))
        if (event.service, event.release, event.environment) != (
            *(shape.service, shape.release, shape.environment),
        ):
            return None
        attrs = Raw(_encode(event.attrs)) if event.attrs else NO_ATTRS
        return _Clean(attrs, event.sender)

    def _text(self, url: str) -> str:
        found: str | None = self._texts.get(url)
        if found is None:
            found = redact_url(url)
            self._remember(url, found, len(url))
        return found

    def _mask_detail(self, event: LightError) -> None:
        """Mask the texts of an error: the same ones come again and again."""
        key = (event.signature, event.type, event.message, *event.frames)
        if not any(key):
            return
        found = self._texts.get(key)
        if found is None:
            bare = Error(
                ts=0,
                service="a",
                release="1",
                signature=event.signature,
                type=event.type,
                message=event.message,
                frames=event.frames,
            )
            masked = scrub(bare)
            found = (masked.signature, masked.type, masked.message, masked.frames)
            self._remember(key, found, sum(len(text) for text in key if text))
        event.signature, event.type, event.message, event.frames = found

    def _remember(self, key: Any, found: Any, chars: int) -> None:
        if chars > TEXT_CHARS_MAX:
            return
        if len(self._texts) >= TEXTS_MAX:
            self._texts.clear()
        self._texts[key] = found


def takes_plain(kinds: tuple[type, ...]) -> bool:
    """Whether a topic may carry what is treated here."""
    return Usage in kinds and Error in kinds
