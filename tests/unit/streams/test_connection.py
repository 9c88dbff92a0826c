"""How Kafka is reached: what is asked for, what is refused, what never shows."""

from __future__ import annotations

import asyncio
import base64
import http.server
import json
import socket
import struct
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.connection import (
    Connection,
    Security,
    aiokafka_options,
    async_provider,
    faust_options,
    kafka_python_options,
)
from streams.connectionvars import CONNECTION_VARIABLES
from streams.errors import Refused, Unreachable
from streams.greeting import AccessDenied, require_broker
from streams.permissions import EXAMPLE, Role, permissions
from streams.settings import Settings, SettingsError
from streams.tokens import ClientCredentials, TokenError, TokenFile, endpoint_problem

DOCS = Path(__file__).parents[3] / "docs" / "kafka.md"
SECRET = "Canary7secret"
SCRAM = {
    "SECURITY": "SASL_SSL",
    "SASL_MECHANISM": "SCRAM-SHA-512",
    "USERNAME": "hypercare",
    "PASSWORD": SECRET,
}


def settings(**variables: str) -> Settings:
    """Settings of variables named after ``HYPERCARE_KAFKA_``."""
    return Settings.from_environment(
        {f"HYPERCARE_KAFKA_{name}": value for name, value in variables.items()}
    )


def refusal(**variables: str) -> str:
    """What is said about variables that can not be used."""
    with pytest.raises(SettingsError) as error:
        settings(**variables)
    return str(error.value)


def test_default_is_plain() -> None:
    """Without any variable nothing is encrypted and everything is compressed."""
    connection = settings().connection
    assert connection == Connection()
    assert connection.compression_type() == "gzip"
    assert connection.ssl_context() is None


def test_all_libraries_get_the_same() -> None:
    """Faust, aiokafka and kafka-python are told the same user and context."""
    conf = settings(**SCRAM)
    one, two = aiokafka_options(conf), kafka_python_options(conf)
    faust = faust_options(conf)["broker_credentials"]
    assert one == two
    assert one["security_protocol"] == faust.protocol.value == "SASL_SSL"
    assert one["sasl_mechanism"] == faust.mechanism.value == "SCRAM-SHA-512"
    assert one["sasl_plain_password"] == faust.password == SECRET
    assert one["ssl_context"] is faust.ssl_context
    assert one["ssl_context"].check_hostname


def test_faust_needs_no_credentials_when_plain() -> None:
    """A plain connection has none; compression can be switched off."""
    found = faust_options(settings(COMPRESSION="none"))
    assert found["broker_credentials"] is None
    assert found["producer_compression_type"] is None


def test_secrets_never_show() -> None:
    """Neither password nor token stand in a representation or an error."""
    conf = settings(**SCRAM)
    assert SECRET not in repr(conf)
    assert SECRET not in repr(faust_options(conf)["broker_credentials"])
    assert SECRET not in refusal(PASSWORD=SECRET, OIDC_CLIENT_SECRET=SECRET)
    assert SECRET not in repr(ClientCredentials("https://x", "id", SECRET))


def test_password_may_stand_in_a_file(tmp_path: Path) -> None:
    """The line end of the file is no part of the password; spaces are."""
    path = tmp_path / "password"
    path.write_text(f" {SECRET}\n")
    found = settings(**{**SCRAM, "PASSWORD": "", "PASSWORD_FILE": str(path)})
    assert found.connection.password == f" {SECRET}"
    assert found.connection.password_variable == "HYPERCARE_KAFKA_PASSWORD_FILE"


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"SECURITY": "TLS"}, "SECURITY: 'TLS': must be one of PLAINTEXT"),
        ({"SECURITY": "SASL_SSL"}, "SASL_MECHANISM: HYPERCARE_KAFKA_SECURITY=SASL"),
        ({**SCRAM, "SASL_MECHANISM": "GSSAPI"}, "SASL_MECHANISM: 'GSSAPI'"),
        ({**SCRAM, "USERNAME": ""}, "USERNAME: SCRAM-SHA-512 needs a user"),
        ({**SCRAM, "PASSWORD": ""}, "PASSWORD_FILE: SCRAM-SHA-512 needs a password"),
        ({**SCRAM, "PASSWORD_FILE": "x"}, "PASSWORD: HYPERCARE_KAFKA_PASSWORD_FILE"),
        ({**SCRAM, "TOKEN_FILE": "x"}, "TOKEN_FILE: is set but would not be used"),
        ({"PASSWORD": "x"}, "PASSWORD: is set but would not be used: set"),
        ({"CA_FILE": "x"}, "CA_FILE: is set but would not be used"),
        ({"SECURITY": "SSL", "CA_FILE": "/nowhere"}, "CA_FILE: /nowhere: there is no"),
        ({"SECURITY": "SSL", "KEY_FILE": "/x"}, "KEY_FILE: is set but would not be"),
        ({"COMPRESSION": "zstd"}, "COMPRESSION: 'zstd': must be one of none, gzip"),
        ({"TRUSTSTORE": "x"}, "TRUSTSTORE: unknown variable, see docs/kafka.md"),
        ({"PASWORD": "x"}, "PASWORD: unknown variable, did you mean"),
    ],
)
def test_wrong_values_are_named(variables: dict[str, str], words: str) -> None:
    """What can not be used, and what would be ignored, is refused by its name."""
    assert f"HYPERCARE_KAFKA_{words}" in refusal(**variables)


OAUTH = {"SECURITY": "SASL_SSL", "SASL_MECHANISM": "OAUTHBEARER"}
OIDC = {
    **OAUTH,
    "OIDC_TOKEN_URL": "https://login.example.org/token",
    "OIDC_CLIENT_ID": "hypercare",
    "OIDC_CLIENT_SECRET": SECRET,
}


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        (OAUTH, "TOKEN_FILE: OAUTHBEARER needs either"),
        ({**OIDC, "TOKEN_FILE": "x"}, "not both"),
        ({**OIDC, "OIDC_CLIENT_ID": ""}, "OIDC_CLIENT_ID: the token endpoint"),
        ({**OIDC, "OIDC_CLIENT_SECRET": ""}, "OIDC_CLIENT_SECRET_FILE: the token"),
        ({**OIDC, "OIDC_TOKEN_URL": "http://a.example/t"}, "must begin with https"),
        ({**OIDC, "USERNAME": "x"}, "USERNAME: is set but would not be used"),
    ],
)
def test_token_settings_are_complete(variables: dict[str, str], words: str) -> None:
    """What a token needs and does not have is named."""
    assert words in refusal(**variables)


@given(st.sampled_from(sorted(CONNECTION_VARIABLES)), st.text(max_size=30))
def test_any_text_is_taken_or_refused(name: str, text: str) -> None:
    """No value of any variable ends in anything but settings or their error."""
    refused = ""
    try:
        settings(**{name: text})
    except SettingsError as error:
        refused = str(error)
    assert refused == "" or f"HYPERCARE_KAFKA_{name}" in refused


@pytest.mark.parametrize(
    ("name", "words"),
    [("CA_FILE", "no certificates in PEM"), ("CERT_FILE", "no certificate and key")],
)
def test_broken_pem_is_named(tmp_path: Path, name: str, words: str) -> None:
    """A file that is no PEM is named at the start, with its variable."""
    path = tmp_path / "broken.pem"
    path.write_text("no PEM")
    said = refusal(**{"SECURITY": "SSL", name: str(path)})
    assert f"HYPERCARE_KAFKA_{name}: {path} holds {words}" in said


# Tokens.


def test_token_file_is_read_again(tmp_path: Path) -> None:
    """A new token in the file is used at the next connection."""
    path = tmp_path / "token"
    path.write_text("one\n")
    tokens = TokenFile(path)
    assert tokens.token() == "one"
    path.write_text("two")
    assert tokens.token() == asyncio.run(async_provider(tokens).token()) == "two"


@pytest.mark.parametrize("content", [b"", b"two tokens", b"\xff", None])
def test_bad_token_file_is_named(tmp_path: Path, content: bytes | None) -> None:
    """A missing file or one with anything else names variable and file."""
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(TokenError, match="HYPERCARE_KAFKA_TOKEN_FILE") as error:
        TokenFile(path).token()
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("url", "fine"),
    [
        ("https://login.example.org/token", True),
        ("http://127.0.0.1:8080/token", True),
        ("http://login.example.org/token", False),
        ("https://user:word@login.example.org/token", False),
        ("file:///etc/passwd", False),
        ("https://[::1", False),
        ("", False),
    ],
)
def test_token_endpoint_must_be_safe(url: str, fine: bool) -> None:
    """Secrets go to https or to loopback only."""
    assert (endpoint_problem(url) is None) is fine


class Endpoint(http.server.BaseHTTPRequestHandler):
    """A token endpoint that counts its tokens."""

    status = 200
    body: bytes | None = None
    asked: list[tuple[str, dict[str, list[str]]]]

    def do_POST(self) -> None:
        """Answer with the next token."""
        length = int(self.headers["Content-Length"])
        form = urllib.parse.parse_qs(self.rfile.read(length).decode())
        self.asked.append((self.headers["Authorization"], form))
        token = {"access_token": f"token{len(self.asked)}", "expires_in": 100}
        self.send_response(self.status)
        self.send_header("Location", "https://elsewhere.example.org/")
        self.end_headers()
        self.wfile.write(json.dumps(token).encode() if self.body is None else self.body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def endpoint(**attributes: Any) -> Iterator[tuple[str, type[Endpoint]]]:
    """Serve on loopback; the address and what was asked."""
    handler = type("One", (Endpoint,), {"asked": [], **attributes})
    with http.server.HTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/token", handler
        finally:
            server.shutdown()
            thread.join()


def test_client_credentials_are_kept_while_fresh() -> None:
    """One request serves until four fifths of the token's life; then a new one."""
    now_s = [0.0]
    with endpoint() as (url, served):
        tokens = ClientCredentials(url, "id", SECRET, "kafka", now_s=lambda: now_s[0])
        assert [tokens.token(), tokens.token()] == ["token1", "token1"]
        now_s[0] = 79.9
        assert tokens.token() == "token1"
        now_s[0] = 80.0
        assert tokens.token() == "token2"
    header, form = served.asked[0]
    assert base64.b64decode(header.split()[1]).decode() == f"id:{SECRET}"
    assert form == {"grant_type": ["client_credentials"], "scope": ["kafka"]}


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"status": 401}, "OIDC_CLIENT_SECRET_FILE"),
        ({"status": 302}, "without an access token"),
        ({"status": 500}, "without an access token"),
        ({"body": b"<html>"}, "without an access token"),
        ({"body": b"[]"}, "without an access token"),
        ({"body": b'{"access_token":"x","expires_in":NaN}'}, "without an access"),
    ],
)
def test_refused_tokens_are_explained(attributes: dict[str, Any], words: str) -> None:
    """Each way an endpoint fails names a setting; redirects are not followed."""
    with (
        endpoint(**attributes) as (url, _),
        pytest.raises(TokenError, match=words) as error,
    ):
        ClientCredentials(url, "id", SECRET).token()
    assert SECRET not in str(error.value)


def test_silent_endpoint_has_a_limit() -> None:
    """An endpoint that never answers is given up after the time limit."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/token"
        with pytest.raises(TokenError, match="does not answer"):
            ClientCredentials(url, "id", SECRET, timeout_s=0.2).token()


# The first words with a broker.


@contextmanager
def broker_saying(*answers: bytes) -> Iterator[str]:
    """A broker that answers each request with the next of these, then hangs up."""

    def serve() -> None:
        link, _ = server.accept()
        with link:
            for answer in answers:
                (size,) = struct.unpack(">i", link.recv(4))
                link.recv(size)
                link.sendall(struct.pack(">i", len(answer)) + answer)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        thread.join()


def handshake(code: int, *mechanisms: str) -> bytes:
    """A broker's answer to SaslHandshake."""
    names = b"".join(struct.pack(">h", len(m)) + m.encode() for m in mechanisms)
    return struct.pack(">ihi", 1, code, len(mechanisms)) + names


@pytest.mark.parametrize(
    ("connection", "answer", "words"),
    [
        (Connection(), handshake(0, "PLAIN"), "asks for a user: set"),
        (Connection(), handshake(33, "GSSAPI"), "one of GSSAPI"),
        (
            Connection(security=Security.SASL_PLAINTEXT, mechanism="PLAIN"),
            handshake(33, "SCRAM-SHA-512"),
            "does not offer PLAIN: set HYPERCARE_KAFKA_SASL_MECHANISM to one of SCRAM",
        ),
        (
            Connection(security=Security.SASL_PLAINTEXT, mechanism="PLAIN"),
            handshake(34),
            "asks for no user",
        ),
        (
            Connection(
                security=Security.SASL_PLAINTEXT,
                mechanism="PLAIN",
                username="u",
                password=SECRET,
            ),
            handshake(0, "PLAIN"),
            "refused the user 'u'",
        ),
    ],
)
def test_refusals_are_translated(
    connection: Connection, answer: bytes, words: str
) -> None:
    """Each answer of a broker that lets nobody in names the setting to change."""
    with broker_saying(answer) as address:
        conf = Settings(kafka=address, connection=connection, io_timeout_s=2)
        with pytest.raises(AccessDenied) as error:
            require_broker(conf)
    assert words in str(error.value)
    assert SECRET not in str(error.value)


def test_plain_broker_is_let_through() -> None:
    """A listener without SASL refuses the handshake, and that is right."""
    with broker_saying(handshake(34)) as address:
        require_broker(Settings(kafka=address, io_timeout_s=2))


@given(st.binary(max_size=64))
def test_any_answer_is_bounded(answer: bytes) -> None:
    """Whatever comes back, the end is a pass or one of our two errors."""
    said = ""
    with broker_saying(answer) as address:
        try:
            require_broker(Settings(kafka=address, io_timeout_s=0.5))
        except (Refused, Unreachable) as error:
            said = str(error)
    assert said == "" or address in said


# Permissions.


def test_worker_alone_writes_recommendations() -> None:
    """No other role may write what a worker decides, or read its state."""
    conf = Settings()
    for role in (Role.PRODUCER, Role.READER):
        for need in permissions(conf, role):
            written = need.operation == "Write"
            assert not (written and need.name.endswith(("recommendations", "events")))
            assert not need.name.endswith("state")


def test_commands_are_quoted() -> None:
    """A principal with spaces is one word of the command."""
    (first, *_) = permissions(Settings(), Role.WORKER)
    said = first.command(Settings(), "User:CN=worker, O=Example")
    assert "'User:CN=worker, O=Example'" in said


@pytest.mark.parametrize("role", list(Role))
def test_documentation_lists_every_permission(role: Role) -> None:
    """docs/kafka.md has a row for each permission of each role."""
    rows = {
        tuple(cell.strip(" `") for cell in line.strip("|").split("|")[:3])
        for line in DOCS.read_text(encoding="utf-8").splitlines()
        if line.startswith(f"| {role} |")
    }
    listed = {
        (role.value, operation.strip(), name.strip(" `").replace("NAME", EXAMPLE))
        for _, operation, names in rows
        for name in names.split(",")
    }
    wanted = {
        (role.value, need.operation, need.name.removeprefix("hypercare.") or "*")
        for need in permissions(Settings(), role)
    }
    assert listed == wanted


def test_documentation_names_every_variable() -> None:
    """docs/kafka.md lists each variable."""
    text = DOCS.read_text(encoding="utf-8")
    for name in CONNECTION_VARIABLES:
        assert f"`HYPERCARE_KAFKA_{name}`" in text, name
