"""Reads how Kafka is reached from ``HYPERCARE_KAFKA_*``; names every problem.

A secret may stand in a variable or in a file that a variable names (``..._FILE``),
never in both, and is never echoed.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from streams.connection import (
    COMPRESSIONS,
    MECHANISMS,
    OAUTH,
    PREFIX,
    Connection,
    Security,
)
from streams.tokens import (
    ClientCredentials,
    TokenFile,
    TokenSource,
    endpoint_problem,
)

CONNECTION_VARIABLES: dict[str, str] = {
    "SECURITY": "PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL",
    "SASL_MECHANISM": "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER",
    "USERNAME": "user of PLAIN and SCRAM",
    "PASSWORD": "its password",
    "PASSWORD_FILE": "the same, from a file",
    "CA_FILE": "certificate authorities, PEM; the system's where not set",
    "CERT_FILE": "our certificate for mTLS, PEM",
    "KEY_FILE": "its key, PEM; not needed where CERT_FILE holds it, too",
    "KEY_PASSWORD": "password of the key",
    "KEY_PASSWORD_FILE": "the same, from a file",
    "TOKEN_FILE": "OAUTHBEARER: file with a token, read at every connection",
    "OIDC_TOKEN_URL": "OAUTHBEARER: token endpoint, https",
    "OIDC_CLIENT_ID": "client id for it",
    "OIDC_CLIENT_SECRET": "client secret for it",
    "OIDC_CLIENT_SECRET_FILE": "the same, from a file",
    "OIDC_SCOPE": "scope asked of it",
    "OIDC_CA_FILE": "its certificate authorities, PEM",
    "COMPRESSION": "gzip or none",
}
"""What each variable says, by its name after ``HYPERCARE_KAFKA_``."""

LOCAL_VARIABLES = ("PORT", "DIR", "VERSION", "NODES", "HEAP")
"""Read by the local broker's own command, not here."""

USER = ("USERNAME", "PASSWORD", "PASSWORD_FILE")
TOKEN = tuple(n for n in CONNECTION_VARIABLES if n.startswith(("TOKEN_", "OIDC_")))
CERTIFICATE = ("CERT_FILE", "KEY_FILE", "KEY_PASSWORD", "KEY_PASSWORD_FILE")


@dataclass(slots=True)
class _Reader:
    """Variables of one environment and the problems found so far."""

    environment: Mapping[str, str]
    problems: list[str]

    def text(self, name: str) -> str:
        return self.environment.get(PREFIX + name, "")

    def problem(self, name: str, words: str) -> None:
        self.problems.append(f"{PREFIX}{name}: {words}")

    def secret(self, name: str) -> str:
        """Value of a secret, from the variable or its file."""
        value, path = self.text(name), self.text(f"{name}_FILE")
        if value and path:
            self.problem(name, f"{PREFIX}{name}_FILE is set, too: keep one of them")
        if not path:
            return value
        try:
            value = Path(path).read_text(encoding="utf-8").rstrip("\r\n")
        except OSError as error:
            self.problem(f"{name}_FILE", f"{path} can not be read: {error.strerror}")
            return ""
        except UnicodeDecodeError:
            self.problem(f"{name}_FILE", f"{path} must be UTF-8 text")
            return ""
        except ValueError as error:  # a NUL: no path can hold one
            self.problem(f"{name}_FILE", f"{path!r} can not be read: {error}")
            return ""
        if not value or "\n" in value:
            self.problem(f"{name}_FILE", f"{path} must hold one line, the secret")
        return value

    def file(self, name: str) -> Path | None:
        text = self.text(name)
        if text and not Path(text).is_file():
            self.problem(name, f"{text}: there is no such file")
            return None
        return Path(text) if text else None

    def choice(self, name: str, allowed: tuple[str, ...], default: str) -> str:
        text = self.text(name) or default
        if text not in allowed:
            self.problem(name, f"{text!r}: must be one of {', '.join(allowed)}")
            return default
        return text

    def unused(self, names: tuple[str, ...], why: str) -> None:
        """Refuse what would be ignored: who sets it believes it is in force."""
        for name in names:
            if self.text(name):
                self.problem(name, f"is set but would not be used: {why}")


def read_connection(environment: Mapping[str, str], problems: list[str]) -> Connection:
    """Connection an environment asks for; what is wrong is added to ``problems``.

    Parameters
    ----------
    environment : mapping
        The variables.
    problems : list of str
        Gets a sentence for each problem.
    """
    found = len(problems)
    read = _Reader(environment, problems)
    security = Security(read.choice("SECURITY", tuple(Security), "PLAINTEXT"))
    mechanism = _mechanism(read, security)
    username, password = _user(read, mechanism)
    tokens = _tokens(read, mechanism)
    ca_file, cert_file, key_file = _files(read, security)
    connection = Connection(
        security=security,
        mechanism=mechanism,
        username=username,
        password=password,
        password_variable=PREFIX
        + ("PASSWORD_FILE" if read.text("PASSWORD_FILE") else "PASSWORD"),
        ca_file=ca_file,
        cert_file=cert_file,
        key_file=key_file,
        key_password=read.secret("KEY_PASSWORD"),
        tokens=tokens,
        compression=read.choice("COMPRESSION", COMPRESSIONS, "gzip"),
    )
    if len(problems) == found:
        _try_certificates(read, connection)
    return connection


def _mechanism(read: _Reader, security: Security) -> str:
    if not security.is_sasl:
        why = f"set {PREFIX}SECURITY=SASL_SSL (it is {security})"
        read.unused(("SASL_MECHANISM", *USER, *TOKEN), why)
        return ""
    if not read.text("SASL_MECHANISM"):
        words = f"{PREFIX}SECURITY={security} needs one of {', '.join(MECHANISMS)}"
        read.problem("SASL_MECHANISM", words)
        return ""
    return read.choice("SASL_MECHANISM", MECHANISMS, "")


def _user(read: _Reader, mechanism: str) -> tuple[str, str]:
    if mechanism in ("", OAUTH):
        if mechanism:
            read.unused(USER, f"{OAUTH} takes a token")
        return "", ""
    username, password = read.text("USERNAME"), read.secret("PASSWORD")
    if not username:
        read.problem("USERNAME", f"{mechanism} needs a user")
    if not (read.text("PASSWORD") or read.text("PASSWORD_FILE")):
        read.problem("PASSWORD_FILE", f"{mechanism} needs a password")
    return username, password


def _tokens(read: _Reader, mechanism: str) -> TokenSource | None:
    if mechanism != OAUTH:
        if mechanism:
            read.unused(TOKEN, f"set {PREFIX}SASL_MECHANISM={OAUTH}")
        return None
    path, url = read.text("TOKEN_FILE"), read.text("OIDC_TOKEN_URL")
    if bool(path) == bool(url):
        words = f"{OAUTH} needs either it or {PREFIX}OIDC_TOKEN_URL, not both"
        read.problem("TOKEN_FILE", words)
        return None
    if path:
        read.file("TOKEN_FILE")
        read.unused(TOKEN[1:], f"{PREFIX}TOKEN_FILE gives the token")
        return TokenFile(Path(path))
    if problem := endpoint_problem(url):
        read.problem("OIDC_TOKEN_URL", problem)
    client_id, secret = read.text("OIDC_CLIENT_ID"), read.secret("OIDC_CLIENT_SECRET")
    if not client_id:
        read.problem("OIDC_CLIENT_ID", "the token endpoint needs a client id")
    if not secret and not read.text("OIDC_CLIENT_SECRET_FILE"):
        read.problem("OIDC_CLIENT_SECRET_FILE", "the token endpoint needs a secret")
    return ClientCredentials(
        url,
        client_id,
        secret,
        read.text("OIDC_SCOPE"),
        ca_file=read.file("OIDC_CA_FILE"),
    )


def _files(
    read: _Reader, security: Security
) -> tuple[Path | None, Path | None, Path | None]:
    if not security.is_encrypted:
        why = f"set {PREFIX}SECURITY to SSL or SASL_SSL (it is {security})"
        read.unused(("CA_FILE", *CERTIFICATE), why)
        return None, None, None
    if not read.text("CERT_FILE"):
        read.unused(CERTIFICATE[1:], f"{PREFIX}CERT_FILE is missing")
    return read.file("CA_FILE"), read.file("CERT_FILE"), read.file("KEY_FILE")


def _try_certificates(read: _Reader, connection: Connection) -> None:
    """Load certificates and key once, so that a wrong one is named at once."""
    try:
        Connection(
            security=connection.security, ca_file=connection.ca_file
        ).ssl_context()
    except OSError as error:
        words = f"{connection.ca_file} holds no certificates in PEM ({_reason(error)})"
        read.problem("CA_FILE", words)
        return
    if connection.cert_file is None:
        return
    if b"-----BEGIN CERTIFICATE-----" not in connection.cert_file.read_bytes():
        words = f"{connection.cert_file} holds no certificate and key in PEM"
        read.problem("CERT_FILE", words)
        return
    try:
        connection.ssl_context()
    except OSError as error:
        reason = _reason(error)
        if "KEY_VALUES_MISMATCH" in reason:
            words = f"is not the key of {PREFIX}CERT_FILE={connection.cert_file}"
            read.problem("KEY_FILE", words)
        else:
            words = (
                "the key can not be read: set its password in "
                f"{PREFIX}KEY_PASSWORD_FILE, or give a key in PEM ({reason})"
            )
            read.problem("KEY_FILE", words)


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return error.reason or "no PEM"
    return error.strerror or type(error).__name__
