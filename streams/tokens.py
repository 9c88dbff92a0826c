"""Bearer tokens for OAUTHBEARER: from a file, or from an OpenID Connect endpoint.

A token is fetched when it is needed and kept until shortly before it expires. Every
wait has a limit, redirects are not followed, and neither a token nor a secret stands
in an error.
"""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import threading
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from streams.wallclock import monotonic_s

ANSWER_BYTES_MAX = 64 * 1024
LIFETIME_S = 60.0
"""Assumed where the endpoint does not say how long a token lives."""

USED_SHARE = 0.8
"""A token is fetched anew after this share of its life: no broker sees it expire."""

LOOPBACK = ("127.0.0.1", "::1", "localhost")


class TokenError(ConnectionError):
    """No token could be had; the text names the variable and the fix."""


class TokenSource(Protocol):
    """Gives a valid bearer token; may block up to its time limit."""

    def token(self) -> str:
        """Return a token that is valid now, or raise :class:`TokenError`."""


@dataclass(frozen=True, slots=True)
class TokenFile:
    """A token that somebody else keeps fresh in a file; read at every connection.

    Parameters
    ----------
    path : Path
        The file; white space around the token is dropped.
    variable : str
        Name of the setting, for messages.
    """

    path: Path
    variable: str = "HYPERCARE_KAFKA_TOKEN_FILE"

    def token(self) -> str:
        """Return what the file holds now."""
        try:
            text = self.path.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not ASCII"
            raise TokenError(
                f"{self.variable}: {self.path} can not be read ({reason}): "
                "it must hold one bearer token"
            ) from None
        if not text or any(c.isspace() or not c.isprintable() for c in text):
            raise TokenError(
                f"{self.variable}: {self.path} must hold one bearer token and "
                "nothing else"
            )
        return text


@dataclass(slots=True)
class ClientCredentials:
    """Tokens of an OpenID Connect endpoint by client id and secret (RFC 6749, 4.4).

    Parameters
    ----------
    url : str
        The token endpoint; https, or http on loopback.
    client_id, client_secret, scope : str
        What is sent to it; ``scope`` may be empty.
    timeout_s : float
        Limit of connecting, and of every read.
    ca_file : Path or None
        Certificate authorities of the endpoint; the system's where none is given.
    now_s : callable
        Monotonic clock for the age of a token.
    """

    url: str
    client_id: str
    client_secret: str = field(repr=False)
    scope: str = ""
    timeout_s: float = 10.0
    ca_file: Path | None = None
    now_s: Callable[[], float] = field(default=monotonic_s, repr=False)
    _token: str = field(default="", init=False, repr=False)
    _fresh_until_s: float = field(default=0.0, init=False, repr=False)
    _lock: threading.Lock = field(
        default_factory=threading.Lock, init=False, repr=False
    )

    def token(self) -> str:
        """Return the token at hand, or fetch one when it is old."""
        with self._lock:
            if not self._token or self.now_s() >= self._fresh_until_s:
                began_s = self.now_s()
                self._token, lifetime_s = self._fetch()
                self._fresh_until_s = began_s + lifetime_s * USED_SHARE
            return self._token

    def _fetch(self) -> tuple[str, float]:
        try:
            status, body = self._post()
        except (OSError, http.client.HTTPException) as error:
            words = str(error) or type(error).__name__
            raise TokenError(
                f"HYPERCARE_KAFKA_OIDC_TOKEN_URL: {self.url} does not answer "
                f"({words}): check the address, the network "
                "and the certificate (HYPERCARE_KAFKA_OIDC_CA_FILE)"
            ) from error
        if status in (400, 401, 403):
            raise TokenError(
                f"HYPERCARE_KAFKA_OIDC_TOKEN_URL: {self.url} refused the client "
                f"{self.client_id!r} ({status}): check HYPERCARE_KAFKA_OIDC_CLIENT_ID, "
                "HYPERCARE_KAFKA_OIDC_CLIENT_SECRET_FILE and HYPERCARE_KAFKA_OIDC_SCOPE"
            )
        return self._parsed(status, body)

    def _parsed(self, status: int, body: bytes) -> tuple[str, float]:
        try:
            answer = json.loads(body) if status == 200 else {}
            token = answer["access_token"]
            lifetime_s = float(answer.get("expires_in", LIFETIME_S))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            token, lifetime_s = None, 0.0
        if not isinstance(token, str) or not token.isascii() or not lifetime_s >= 0:
            raise TokenError(
                f"HYPERCARE_KAFKA_OIDC_TOKEN_URL: {self.url} answered {status} without "
                "an access token: give the token endpoint of the identity provider"
            )
        return token, lifetime_s

    def _post(self) -> tuple[int, bytes]:
        address = urllib.parse.urlsplit(self.url)
        host = address.hostname or ""
        connection: http.client.HTTPConnection
        if address.scheme == "https":
            context = ssl.create_default_context(cafile=self.ca_file)
            connection = http.client.HTTPSConnection(
                host, address.port, timeout=self.timeout_s, context=context
            )
        else:
            connection = http.client.HTTPConnection(
                host, address.port, timeout=self.timeout_s
            )
        form = {"grant_type": "client_credentials"}
        if self.scope:
            form["scope"] = self.scope
        try:
            path = urllib.parse.urlunsplit(("", "", address.path, address.query, ""))
            connection.request(
                "POST", path or "/", urllib.parse.urlencode(form), self._headers()
            )
            answer = connection.getresponse()
            return answer.status, answer.read(ANSWER_BYTES_MAX)
        finally:
            connection.close()

    def _headers(self) -> dict[str, str]:
        """Basic authentication, form-encoded first as RFC 6749, 2.3.1 wants it."""
        pair = ":".join(
            urllib.parse.quote_plus(part)
            for part in (self.client_id, self.client_secret)
        )
        return {
            "Authorization": "Basic " + base64.b64encode(pair.encode()).decode(),
            "Content-Type": "application/x-www-form-urlencoded",
            "Accept": "application/json",
        }


def endpoint_problem(url: str) -> str | None:
    """What is wrong with the address of a token endpoint, if anything is."""
    try:
        address = urllib.parse.urlsplit(url)
        host, _ = address.hostname, address.port
    except ValueError as error:
        return f"is no address ({error})"
    if not host or not url.isascii() or any(c.isspace() for c in url):
        return "must be an address like https://login.example.org/oauth2/token"
    if address.username or address.password:
        return "must not hold a user or a password"
    if address.scheme == "https" or (address.scheme == "http" and host in LOOPBACK):
        return None
    return "must begin with https:// (http:// only on loopback): a secret is sent there"
