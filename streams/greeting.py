"""The first words with a broker: says in one sentence why we are not let in.

Client libraries try for long and then say little more than "closed". Before one is
made, a socket of our own does what they would do - connect, TLS, SASL - and
every way it can end is translated into the variable to change.
"""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from kafka.errors import (
    AuthorizationError,
    KafkaError,
    SaslAuthenticationFailedError,
)
from kafka.net.sasl import get_sasl_mechanism

from streams.connection import OAUTH, PREFIX, Connection, kafka_python_options
from streams.errors import Refused, Unreachable
from streams.tokens import TokenError

if TYPE_CHECKING:
    from streams.settings import Settings

Client = TypeVar("Client")

SASL_HANDSHAKE, SASL_AUTHENTICATE = 17, 36
"""Keys of Kafka's protocol: https://kafka.apache.org/protocol#protocol_api_keys."""
UNSUPPORTED_MECHANISM = 33
ILLEGAL_STATE = 34
NO_TLS = (
    "WRONG_VERSION_NUMBER",
    "RECORD_LAYER_FAILURE",
    "UNEXPECTED_EOF_WHILE_READING",
)
ANSWER_BYTES_MAX = 4096


class AccessDenied(Refused):
    """Kafka is there and does not let us in; the text names variable and fix."""


def require_broker(settings: Settings) -> None:
    """Return if a bootstrap server would talk to us.

    Raises
    ------
    Unreachable
        Nobody listens, or nobody answers in time.
    AccessDenied
        Encryption, certificate or mechanism are not what the broker wants.
    """
    problem: Exception | None = None
    for server in settings.kafka.split(","):
        try:
            _greet(server, settings)
        except AccessDenied:
            raise
        except (OSError, EOFError, struct.error, UnicodeDecodeError) as error:
            problem = error
        else:
            return
    if problem is not None:
        raise unreachable(settings, problem) from problem


def unreachable(settings: Settings, error: Exception) -> Unreachable:
    """The sentence for a Kafka that does not answer."""
    words = str(error) or type(error).__name__
    return Unreachable(
        f"Kafka at {settings.kafka} does not answer ({words}): start it "
        "(`hypercare kafka start`) or set HYPERCARE_KAFKA=host:port"
    )


def open_client(
    settings: Settings, make: Callable[..., Client], purpose: str, **options: Any
) -> Client:
    """Make a kafka-python client, or say in one sentence why that is not possible.

    Parameters
    ----------
    settings : Settings
        Where Kafka is and how it is reached.
    make : callable
        ``KafkaProducer``, ``KafkaConsumer`` or ``KafkaAdminClient``.
    purpose : str
        Told to Kafka in the client's id.
    **options
        What this client has beyond the connection.
    """
    require_broker(settings)
    limit_ms = int(settings.io_timeout_s * 1000)
    try:
        return make(
            bootstrap_timeout_ms=limit_ms,
            **kafka_python_options(settings, purpose),
            **options,
        )
    except SaslAuthenticationFailedError as error:
        raise refused_user(settings) from error
    except (KafkaError, ValueError, OSError) as error:
        raise unreachable(settings, error) from error


def explained_error(settings: Settings, error: KafkaError) -> Exception:
    """What an error of a client that was let in means: no permission, or no answer."""
    if isinstance(error, AuthorizationError):
        named = error.args[0] if error.args else ()
        topics = sorted(named) if isinstance(named, set | frozenset) else [str(named)]
        about = f" on {', '.join(topics)}" if all(topics) and topics else ""
        return AccessDenied(
            f"Kafka at {settings.kafka} does not allow this to "
            f"{settings.connection.principal()}{about} ({type(error).__name__}): "
            "`hypercare topics acls` lists who needs what"
        )
    return unreachable(settings, error)


def unseen(settings: Settings, topic: str) -> Unreachable:
    """The error for a topic that a client is not shown.

    Kafka does not tell who may not see a topic from who asks for one that is not there.
    """
    fix, connection = "run `hypercare topics create` or set HYPERCARE_PREFIX", ""
    security = settings.connection.security
    if security.is_sasl or settings.connection.cert_file is not None:
        connection = f", or {settings.connection.principal()} may not see it"
        fix += "; `hypercare topics acls` lists who needs what"
    return Unreachable(
        f"topic {topic} does not exist on {settings.kafka}{connection}: {fix}"
    )


def refused_user(settings: Settings) -> AccessDenied:
    """The sentence for a wrong user, password or token."""
    connection = settings.connection
    if connection.mechanism == OAUTH:
        fix = (
            "the token is expired or not meant for this Kafka: check "
            f"{PREFIX}TOKEN_FILE or {PREFIX}OIDC_SCOPE, and the broker's audience"
        )
        return AccessDenied(f"Kafka at {settings.kafka} refused our token; {fix}")
    return AccessDenied(
        f"Kafka at {settings.kafka} refused the user {connection.username!r}: "
        f"check {PREFIX}USERNAME, {connection.password_variable} and that the user "
        f"exists for {PREFIX}SASL_MECHANISM={connection.mechanism}"
    )


def _greet(server: str, settings: Settings) -> None:
    connection = settings.connection
    host, _, port = server.rpartition(":")
    host = host.strip("[]")
    address = (host, int(port))
    with socket.create_connection(address, timeout=settings.io_timeout_s) as plain:
        context = connection.ssl_context()
        if context is None:
            _handshake(plain, server, connection)
            _authenticate(plain, settings)
            return
        try:
            with context.wrap_socket(plain, server_hostname=host) as link:
                _handshake(link, server, connection)
                _authenticate(link, settings)
        except ssl.SSLError as error:
            raise AccessDenied(_tls_words(server, connection, error)) from error


def _handshake(
    link: socket.socket | ssl.SSLSocket, server: str, connection: Connection
) -> None:
    """Ask for our mechanism; a broker without SASL refuses that by a code."""
    wanted = (connection.mechanism or "PLAIN").encode()
    try:
        body = struct.pack(">h", len(wanted)) + wanted
        answer = _ask(link, SASL_HANDSHAKE, 1, body)
    except (ConnectionResetError, EOFError) as error:
        if connection.security.is_encrypted:
            raise
        raise AccessDenied(
            f"{server} hangs up on an unencrypted greeting: does it expect TLS? "
            f"Set {PREFIX}SECURITY=SASL_SSL or SSL"
        ) from error
    code, offered = _offered(answer)
    _judge(code, offered, server, connection)


def _judge(code: int, offered: list[str], server: str, connection: Connection) -> None:
    security = connection.security
    if code == UNSUPPORTED_MECHANISM and security.is_sasl:
        raise AccessDenied(
            f"{server} does not offer {connection.mechanism}: set "
            f"{PREFIX}SASL_MECHANISM to one of {', '.join(offered)}"
        )
    if code == ILLEGAL_STATE and security.is_sasl:
        right = "SSL" if security.is_encrypted else "PLAINTEXT"
        raise AccessDenied(
            f"{server} asks for no user (SASL is off on this listener): set "
            f"{PREFIX}SECURITY={right}, or give the address of its SASL listener"
        )
    if code in (0, UNSUPPORTED_MECHANISM) and not security.is_sasl:
        right = "SASL_SSL" if security.is_encrypted else "SASL_PLAINTEXT"
        raise AccessDenied(
            f"{server} asks for a user: set {PREFIX}SECURITY={right} and "
            f"{PREFIX}SASL_MECHANISM to one of {', '.join(offered)}"
        )


def _authenticate(link: socket.socket | ssl.SSLSocket, settings: Settings) -> None:
    """Show who we are, with the very code the client will use."""
    if not settings.connection.security.is_sasl:
        return
    options = kafka_python_options(settings)
    mechanism = get_sasl_mechanism(settings.connection.mechanism)(**options)
    try:
        while not mechanism.is_done():
            token = mechanism.auth_bytes()
            body = struct.pack(">i", len(token)) + token
            code, found = _authenticated(_ask(link, SASL_AUTHENTICATE, 0, body))
            if code != 0:
                raise refused_user(settings)
            mechanism.receive(found)
    except TokenError as error:
        raise AccessDenied(str(error)) from error
    except (ConnectionResetError, ValueError) as error:
        # A broker may hang up on a wrong password; a wrong proof of the server's
        # own is a ValueError of the SCRAM client.
        raise refused_user(settings) from error
    if not mechanism.is_authenticated():
        raise refused_user(settings)


def _ask(
    link: socket.socket | ssl.SSLSocket, key: int, version: int, body: bytes
) -> bytes:
    """Send one request without a client id; return the answer without its length."""
    request = struct.pack(">hhih", key, version, 1, -1) + body
    link.sendall(struct.pack(">i", len(request)) + request)
    (size,) = struct.unpack(">i", _read(link, 4))
    if not 6 <= size <= ANSWER_BYTES_MAX:
        # The first byte of a TLS alert record is 21, which gives a huge length.
        raise EOFError(f"{size} is no length of an answer")
    return _read(link, size)


def _read(link: socket.socket | ssl.SSLSocket, count: int) -> bytes:
    parts = b""
    while len(parts) < count:
        part = link.recv(count - len(parts))
        if not part:
            raise ConnectionResetError("it closed the connection")
        parts += part
    return parts


def _authenticated(answer: bytes) -> tuple[int, bytes]:
    """Error code and bytes of a SaslAuthenticate answer, version 0."""
    _, code, size = struct.unpack_from(">ihh", answer)
    at = 8 + max(size, 0)
    (count,) = struct.unpack_from(">i", answer, at)
    return code, answer[at + 4 : at + 4 + count]


def _offered(answer: bytes) -> tuple[int, list[str]]:
    """Error code and mechanisms of a SaslHandshake answer, version 1."""
    _, code, count = struct.unpack_from(">ihi", answer)
    names, at = [], 10
    with suppress(struct.error):
        for _ in range(count):
            (size,) = struct.unpack_from(">h", answer, at)
            names.append(answer[at + 2 : at + 2 + size].decode())
            at += 2 + size
    return code, names


def _tls_words(server: str, connection: Connection, error: ssl.SSLError) -> str:
    """What a failed TLS handshake means for whoever sets this up."""
    reason = error.reason or ""
    if isinstance(error, ssl.SSLCertVerificationError):
        if "match" in error.verify_message:
            return (
                f"{server} shows a certificate for another name "
                f"({error.verify_message}): use the name in the certificate in "
                "HYPERCARE_KAFKA"
            )
        return (
            f"the certificate of {server} is not trusted ({error.verify_message}): "
            f"set {PREFIX}CA_FILE to the PEM file of the authority that signed it"
        )
    if "CERTIFICATE" in reason or "UNKNOWN_CA" in reason or "HANDSHAKE_FAIL" in reason:
        found = connection.cert_file or "none"
        return (
            f"{server} wants a client certificate it trusts and does not accept ours "
            f"({found}; {reason}): check {PREFIX}CERT_FILE and {PREFIX}KEY_FILE"
        )
    # Closed at once, it is a matter of moments how the library words it.
    if reason in NO_TLS or isinstance(error, ssl.SSLZeroReturnError):
        right = "SASL_PLAINTEXT" if connection.security.is_sasl else "PLAINTEXT"
        return (
            f"{server} does not speak TLS: set {PREFIX}SECURITY={right}, or give the "
            "address of its TLS listener"
        )
    return (
        f"TLS with {server} failed ({reason or error}): check {PREFIX}SECURITY and "
        f"{PREFIX}CA_FILE"
    )
