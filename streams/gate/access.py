"""Who may ask the gates what: bearer tokens with a scope, hashed where they are kept.

A token file has a line for each: name, scope, SHA-256 of the token in hexadecimal, and
patterns of the services it is good for, with commas; without them for all.
Clients that send no headers of their own put it where they can: user info of a URL
(arrives as Basic), Flagger's ``metadata.token``.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import logging
import re
import secrets
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from streams.errors import Refused
from streams.filewatch import FileWatch

logger = logging.getLogger(__name__)

TOKEN_BYTES = 32
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,99}")
PATTERN = re.compile(r"[A-Za-z0-9._+/@:*?\[\]!-]{1,256}")
DIGEST = re.compile(r"[0-9a-f]{64}")


class Scope(StrEnum):
    """What a token is good for; each includes those before it."""

    READ = "read"
    ACT = "act"
    ADMIN = "admin"

    @property
    def rank(self) -> int:
        """Place in the order."""
        return list(Scope).index(self)


class Bearer(NamedTuple):
    """Who asks, and how far they may go; without patterns, for every service."""

    name: str
    scope: Scope
    services: tuple[str, ...] = ()

    @property
    def is_limited(self) -> bool:
        """Whether some services are none of theirs."""
        return bool(self.services)

    def may(self, service: str) -> bool:
        """Whether this service is theirs."""
        return not self.services or any(
            fnmatchcase(service, one) for one in self.services
        )


class Tokens:
    """Tokens of a file.

    Parameters
    ----------
    bearers : dict
        By the token's SHA-256.
    """

    def __init__(self, bearers: dict[bytes, Bearer]) -> None:
        self._bearers = bearers

    @classmethod
    def load(cls, path: Path) -> Tokens:
        """Read a token file.

        Raises
        ------
        Refused
            If it can not be read, or a line is none of ours.
        """
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise Refused(f"{path}: can not be read: {error}") from error
        found: dict[bytes, Bearer] = {}
        for number, line in enumerate(lines, 1):
            if not line.strip() or line.startswith("#"):
                continue
            bearer = _bearer(line.split())
            if bearer is None:
                scopes = "|".join(Scope)
                raise Refused(
                    f"{path}:{number}: not of the form NAME {scopes} SHA256 "
                    "[SERVICE,...]: `hypercare gates token` prints such a line"
                )
            found[bytes.fromhex(line.split()[2])] = bearer
        return cls(found)

    def bearer(self, token: str) -> Bearer | None:
        """Who has this token; all are compared, in the same time whichever fits."""
        digest, found = digest_of(token), None
        for known, bearer in self._bearers.items():
            if hmac.compare_digest(known, digest):
                found = bearer
        return found


def _bearer(parts: list[str]) -> Bearer | None:
    """Who a line is about; None if it is none of ours."""
    if len(parts) not in (3, 4) or parts[1] not in list(Scope):
        return None
    patterns = tuple(parts[3].split(",")) if len(parts) == 4 else ()
    fits = NAME.fullmatch(parts[0]) and DIGEST.fullmatch(parts[2])
    if not fits or not all(PATTERN.fullmatch(one) for one in patterns):
        return None
    return Bearer(parts[0], Scope(parts[1]), patterns)


class TokenFile:
    """A token file that is read again when it changes, wholly or not at all.

    Parameters
    ----------
    path : Path
        The file; raises Refused if it can not be used at the start.

    Attributes
    ----------
    is_current : bool
        Whether the file as it is now is in force.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._watch = FileWatch(path)
        self.tokens = Tokens.load(path)
        self.is_current = True

    def poll(self) -> None:
        """Take a changed file; one that is no good leaves the old tokens in force."""
        if not self._watch.changed():
            return
        try:
            self.tokens = Tokens.load(self._path)
        except Refused as error:
            self.is_current = False
            logger.error("gates.tokens_refused the old ones hold: %s", error)
        else:
            self.is_current = True
            logger.info("gates.tokens_reloaded file=%s", self._path)


def digest_of(token: str) -> bytes:
    """What is kept of a token."""
    return hashlib.sha256(token.encode()).digest()


def new_token() -> str:
    """A token nobody can guess."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def token_in(authorization: str) -> str | None:
    """The token of an Authorization header: bearer, or the password of Basic."""
    kind, _, rest = authorization.partition(" ")
    if kind.lower() == "bearer":
        return rest.strip() or None
    if kind.lower() != "basic":
        return None
    try:
        _, colon, password = (
            base64.b64decode(rest, validate=True).decode().partition(":")
        )
    except (binascii.Error, ValueError):
        return None
    return password if colon and password else None
