"""How every client reaches Kafka: one configuration, spoken to three libraries.

Faust, aiokafka and kafka-python each spell security their own way. Here it is said
once; no other module builds a client's options. Secrets are kept out of ``repr``, logs
and errors.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streams.tokens import TokenSource

if TYPE_CHECKING:
    from streams.settings import Settings

PREFIX = "HYPERCARE_KAFKA_"
OAUTH = "OAUTHBEARER"
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", OAUTH)
COMPRESSIONS = ("none", "gzip")
"""What the clients can do without a library of their own."""

READER_TRIES = 4
"""How many nodes can be asked within one time limit."""


class Security(StrEnum):
    """What protects the connection, in Kafka's words."""

    PLAINTEXT = "PLAINTEXT"
    SSL = "SSL"
    SASL_PLAINTEXT = "SASL_PLAINTEXT"
    SASL_SSL = "SASL_SSL"

    @property
    def is_encrypted(self) -> bool:
        """Whether TLS is spoken."""
        return self in (Security.SSL, Security.SASL_SSL)

    @property
    def is_sasl(self) -> bool:
        """Whether a user, or a token, is asked for."""
        return self in (Security.SASL_PLAINTEXT, Security.SASL_SSL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """What a client needs to be let in.

    Parameters
    ----------
    security : Security
        Encryption and kind of authentication.
    mechanism : str
        SASL mechanism, one of ``MECHANISMS``.
    username, password : str
        For PLAIN and SCRAM.
    password_variable : str
        Setting the password came from, for messages.
    ca_file : Path or None
        Certificate authorities in PEM; the system's where none is given.
    cert_file, key_file, key_password : Path, Path, str
        Our certificate and key in PEM, for mTLS.
    tokens : TokenSource or None
        For OAUTHBEARER.
    compression : str
        Of what we produce, one of ``COMPRESSIONS``.
    """

    security: Security = Security.PLAINTEXT
    mechanism: str = ""
    username: str = ""
    password: str = field(default="", repr=False)
    password_variable: str = PREFIX + "PASSWORD"
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    key_password: str = field(default="", repr=False)
    tokens: TokenSource | None = field(default=None, repr=False, hash=False)
    compression: str = "gzip"

    def ssl_context(self) -> ssl.SSLContext | None:
        """Context of all TLS connections; host names are always checked.

        Raises
        ------
        OSError
            When a file can not be read or key and certificate do not fit
            (``ssl.SSLError`` is one).
        """
        return _context(self) if self.security.is_encrypted else None

    def principal(self) -> str:
        """Name under which access lists know us, as far as we can tell."""
        if self.security.is_sasl and self.mechanism != OAUTH:
            return f"User:{self.username}"
        if self.security.is_sasl:
            return "User:<subject of the token>"
        if self.cert_file is not None and self.security.is_encrypted:
            return f"User:<subject of {self.cert_file}>"
        return "User:ANONYMOUS"

    def compression_type(self) -> str | None:
        """Compression as clients want it: None for none."""
        return None if self.compression == "none" else self.compression


@lru_cache(maxsize=8)
def _context(connection: Connection) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=connection.ca_file)
    if connection.cert_file is not None:
        context.load_cert_chain(
            connection.cert_file,
            connection.key_file,
            # Always a function: without one OpenSSL would ask on the terminal.
            password=lambda: connection.key_password,
        )
    return context


def aiokafka_options(settings: Settings, purpose: str = "") -> dict[str, Any]:
    """Options of aiokafka's producer, consumer and admin client.

    Parameters
    ----------
    settings : Settings
        The worker's settings.
    purpose : str
        Told to Kafka in the client's id.
    """
    connection = settings.connection
    options = _common(settings, purpose)
    if connection.tokens is not None:
        options["sasl_oauth_token_provider"] = async_provider(connection.tokens)
    return options


def aiokafka_reader_options(settings: Settings, purpose: str) -> dict[str, Any]:
    """Options of aiokafka's clients that are opened to ask something, and closed.

    A node that is frozen takes connections and answers nothing. It may use up a
    part of the time limit only, so that another one can be asked within it.
    """
    patience_ms = int(settings.io_timeout_s * 1000 / READER_TRIES)
    options = aiokafka_options(settings, purpose)
    return {**options, "request_timeout_ms": patience_ms}


def kafka_python_options(settings: Settings, purpose: str = "") -> dict[str, Any]:
    """Options of kafka-python's producer, consumer and admin client."""
    connection = settings.connection
    options = _common(settings, purpose)
    if connection.tokens is not None:
        options["sasl_oauth_token_provider"] = _blocking_provider(connection.tokens)
    return options


def faust_options(settings: Settings) -> dict[str, Any]:
    """Settings of a Faust application: brokers, credentials, compression."""
    from yarl import URL

    return {
        "broker": [URL(f"kafka://{one}") for one in settings.kafka.split(",")],
        "broker_credentials": _faust_credentials(settings.connection),
        "producer_compression_type": settings.connection.compression_type(),
    }


def _common(settings: Settings, purpose: str) -> dict[str, Any]:
    connection = settings.connection
    name = "-".join(part for part in ("hypercare", settings.worker, purpose) if part)
    options: dict[str, Any] = {
        "bootstrap_servers": settings.kafka.split(","),
        "client_id": name,
        "request_timeout_ms": int(settings.io_timeout_s * 1000),
        "security_protocol": connection.security.value,
    }
    if connection.security.is_encrypted:
        options["ssl_context"] = connection.ssl_context()
    if connection.security.is_sasl:
        options["sasl_mechanism"] = connection.mechanism
        if connection.mechanism != OAUTH:
            options["sasl_plain_username"] = connection.username
            options["sasl_plain_password"] = connection.password
    return options


def _faust_credentials(connection: Connection) -> Any:
    from faust import auth

    context = connection.ssl_context()
    if connection.tokens is not None:
        return auth.OAuthCredentials(
            oauth_cb=async_provider(connection.tokens), ssl_context=context
        )
    if connection.security.is_sasl:
        return auth.SASLCredentials(
            mechanism=connection.mechanism,
            username=connection.username,
            password=connection.password,
            ssl_context=context,
        )
    return auth.SSLCredentials(context) if context is not None else None


def async_provider(tokens: TokenSource) -> Any:
    """Tokens as aiokafka asks for them, fetched off the event loop."""
    from aiokafka.abc import AbstractTokenProvider

    class Provider(AbstractTokenProvider):  # type: ignore[misc]
        async def token(self) -> str:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(None, tokens.token)

    return Provider()


def _blocking_provider(tokens: TokenSource) -> Any:
    from kafka.net.sasl.oauth import AbstractTokenProvider

    class Provider(AbstractTokenProvider):  # type: ignore[misc]
        def token(self) -> str:
            return tokens.token()

    return Provider()
