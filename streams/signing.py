"""Signatures of recommendations: who reads one can tell that a worker wrote it.

Rights in Kafka protect the topic; the signature protects whoever reads a record by
whatever way it came. It covers topic, key and the exact bytes of the value, so that
nothing has to be parsed before it is trusted. Ed25519 (RFC 8032): readers hold only
public keys.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)

from streams.errors import Refused

HEADER = "hc-signature"
"""Kafka header: ``v1,<key id>,<base64>``, several separated by blanks."""

VERSION = "v1"
PURPOSE = b"hypercare recommendation v1"
"""Begins what is signed: a key used elsewhere, too, signs nothing that fits here."""

HEADER_BYTES_MAX = 2_048
PEM_BYTES_MAX = 65_536
PEM_END = b"-----END PUBLIC KEY-----"


class KeyFileError(Refused):
    """A key file can not be used; the text names it and the fix."""


class Unsigned(Exception):
    """A record is not signed by anybody we know; the text says why."""


class Signer:
    """Signs with one key, or with the old and the new one while keys change.

    Parameters
    ----------
    keys : sequence of Ed25519PrivateKey
        Each makes a signature.
    """

    def __init__(self, keys: Sequence[Ed25519PrivateKey]) -> None:
        self._keys = [(key_id(key.public_key()), key) for key in keys]

    @classmethod
    def load(cls, paths: Iterable[Path]) -> Signer:
        """Read private keys, one of a file (PEM, PKCS 8, not encrypted).

        Raises
        ------
        KeyFileError
            If a file holds no such key.
        """
        return cls([_private(path) for path in paths])

    @property
    def key_ids(self) -> tuple[str, ...]:
        """Names of the keys."""
        return tuple(name for name, _ in self._keys)

    def header(self, topic: str, key: bytes, value: bytes) -> bytes:
        """The header's value for a record of a topic (its full name)."""
        text = signed_bytes(topic, key, value)
        return " ".join(
            f"{VERSION},{name},{base64.b64encode(one.sign(text)).decode()}"
            for name, one in self._keys
        ).encode()


class Verifier:
    """Knows public keys.

    Parameters
    ----------
    keys : mapping of str to Ed25519PublicKey
        By key id.
    """

    def __init__(self, keys: Mapping[str, Ed25519PublicKey]) -> None:
        self._keys = dict(keys)

    @classmethod
    def load(cls, paths: Iterable[Path]) -> Verifier:
        """Read public keys, any number of a file (PEM).

        Raises
        ------
        KeyFileError
            If a file holds none, or something else.
        """
        found = [key for path in paths for key in _publics(path)]
        return cls({key_id(key): key for key in found})

    @property
    def key_ids(self) -> tuple[str, ...]:
        """Names of the keys."""
        return tuple(self._keys)

    def check(self, topic: str, key: bytes, value: bytes, header: bytes | None) -> str:
        """Return the id of a key that signed these very bytes.

        Raises
        ------
        Unsigned
            If none of the known keys did.
        """
        if not header:
            raise Unsigned(f"no header {HEADER}")
        if len(header) > HEADER_BYTES_MAX:
            raise Unsigned(f"header {HEADER} is longer than {HEADER_BYTES_MAX} bytes")
        text = signed_bytes(topic, key, value)
        strangers = []
        for part in header.split(b" "):
            name, signature = _parsed(part)
            known = self._keys.get(name)
            if known is None:
                strangers.append(name)
                continue
            try:
                known.verify(signature, text)
            except InvalidSignature:
                raise Unsigned(
                    f"the signature of key {name} does not fit: topic, key or value "
                    "were changed"
                ) from None
            return name
        raise Unsigned(f"signed by {', '.join(strangers)}, none of the known keys")


def signed_bytes(topic: str, key: bytes, value: bytes) -> bytes:
    """What is signed: each part with its length in front, 8 bytes, big-endian."""
    parts = (PURPOSE, topic.encode(), key, value)
    return b"".join(len(part).to_bytes(8, "big") + part for part in parts)


def key_id(key: Ed25519PublicKey) -> str:
    """Name of a key: the start of the hash of its 32 bytes, so that none can lie."""
    raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return hashlib.sha256(raw).hexdigest()[:16]


def new_key() -> tuple[bytes, bytes]:
    """A new private key and its public one, as PEM."""
    key = Ed25519PrivateKey.generate()
    return (
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
        public_pem(key.public_key()),
    )


def public_pem(key: Ed25519PublicKey) -> bytes:
    """A public key as PEM."""
    return key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _parsed(part: bytes) -> tuple[str, bytes]:
    pieces = part.decode("ascii", "replace").split(",")
    if len(pieces) != 3 or pieces[0] != VERSION:
        raise Unsigned(f"header {HEADER} is not of the form {VERSION},key,signature")
    try:
        signature = base64.b64decode(pieces[2], validate=True)
    except (binascii.Error, ValueError):
        signature = b""
    # The last letter has bits that mean nothing: only one way to write it counts.
    if not signature or base64.b64encode(signature).decode() != pieces[2]:
        raise Unsigned(f"header {HEADER}: the signature is not base64")
    return pieces[1], signature


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(PEM_BYTES_MAX)
    except OSError as error:
        raise KeyFileError(f"{path}: can not be read: {error.strerror}") from error


def _private(path: Path) -> Ed25519PrivateKey:
    try:
        found = serialization.load_pem_private_key(_read(path), password=None)
    except (ValueError, TypeError) as error:
        raise KeyFileError(
            f"{path}: no private key in PEM without a password ({error}): "
            "make one with `hypercare keys new`"
        ) from error
    if not isinstance(found, Ed25519PrivateKey):
        raise KeyFileError(f"{path}: not an Ed25519 key: use `hypercare keys new`")
    return found


def _publics(path: Path) -> list[Ed25519PublicKey]:
    text = _read(path)
    found = []
    for block in text.split(PEM_END)[:-1]:
        try:
            key = serialization.load_pem_public_key(block.lstrip() + PEM_END)
        except ValueError as error:
            raise KeyFileError(f"{path}: not a public key in PEM ({error})") from error
        if not isinstance(key, Ed25519PublicKey):
            raise KeyFileError(f"{path}: not an Ed25519 key: use `hypercare keys new`")
        found.append(key)
    if not found:
        raise KeyFileError(f"{path}: holds no public key: give the file NAME.pub")
    return found
