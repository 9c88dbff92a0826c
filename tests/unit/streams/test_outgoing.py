"""Nothing is sent where it must not go, and what comes back is bounded."""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
from pathlib import Path
from typing import Any

import pytest
from yarl import URL

from streams import outgoing as module
from streams.outgoing import (
    REPLY_BYTES_MAX,
    Forbidden,
    NotSent,
    Outgoing,
    Unanswered,
    refusal,
)
from tests.integration.certificates import Authority
from tests.unit.streams.receivers import (
    LOOPBACK,
    dripping,
    flooding,
    says,
    serving,
    silent,
    slamming,
    status,
)


def words(text: str) -> list[str]:
    """The words of a text."""
    return text.split()


HARMFUL = words("""
224.0.0.1 64:ff9b::a9fe:a9fe 2002:a9fe:a9fe::1 fec0::1 ::127.0.0.1 192.0.0.8 100.64.0.1
169.254.169.254 127.0.0.1 10.0.0.1 172.16.0.1 192.168.1.1 0.0.0.0 255.255.255.255 ::1 ::
fe80::1 fc00::1 ::ffff:169.254.169.254 2001:0:a9fe:a9fe:0:0:5601:5601 ff02::1
2001:db8::1 198.18.0.1 192.0.2.1 203.0.113.9 240.0.0.1 64:ff9b:1::1 100.100.100.200
fd00:ec2::254 ::ffff:10.0.0.1 192.88.99.1
""")
PUBLIC = words(
    "8.8.8.8 1.1.1.1 2606:4700:4700::1111 2a00:1450:4001::200e 93.184.216.34"
)
METADATA = words("""
169.254.169.254 64:ff9b::a9fe:a9fe 2002:a9fe:a9fe::1 ::ffff:169.254.169.254
fd00:ec2::254 100.100.100.200 fe80::1 0.0.0.0 224.0.0.1
""")
POST = ("POST", {"X-A": "1"}, b"{}")


@pytest.mark.parametrize("address", HARMFUL)
def test_harmful_addresses_are_refused(address: str) -> None:
    """Internal, embedded, group and metadata addresses: none is reached unasked."""
    assert refusal(ipaddress.ip_address(address), "https", ()) is not None


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_take_https_only(address: str) -> None:
    """A public address may be reached, encrypted."""
    one = ipaddress.ip_address(address)
    assert refusal(one, "https", ()) is None
    assert refusal(one, "http", ()) is not None


@pytest.mark.parametrize("address", METADATA)
def test_metadata_can_not_be_allowed(address: str) -> None:
    """No network of the file, however wide, opens a metadata service."""
    wide = [ipaddress.ip_network(one) for one in ("0.0.0.0/0", "::/0")]
    assert refusal(ipaddress.ip_address(address), "https", wide) is not None


def test_allowed_network_is_reached() -> None:
    """An internal network opens for its own addresses, mapped ones, too."""
    allowed = [ipaddress.ip_network("10.1.0.0/16")]
    for address in ("10.1.2.3", "::ffff:10.1.2.3"):
        assert refusal(ipaddress.ip_address(address), "http", allowed) is None
    assert refusal(ipaddress.ip_address("10.2.0.1"), "http", allowed) is not None


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f.1", "[::1]"]
)
async def test_loopback_has_many_names(host: str) -> None:
    """However this machine is written, nothing is sent to it unasked."""
    async with serving(status("200 OK")) as server:
        out = Outgoing()
        with pytest.raises(NotSent):
            await out.send("POST", URL(f"http://{host}:{server.port}/"), {}, b"")
        out.close()
    assert server.heard == []


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://x/", "https://u:p@x/"])
async def test_other_schemes_are_refused(url: str) -> None:
    """Neither files nor other protocols, nor a user in the URL."""
    out = Outgoing(allowed=[LOOPBACK])
    with pytest.raises(Forbidden):
        await out.send("GET", URL(url), {}, None)
    out.close()


async def test_rebound_name_does_not_help(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name is resolved once, and one bad address among good ones refuses all."""
    asked: list[str] = []

    def lookup(host: str, port: int, **_: Any) -> list[Any]:
        asked.append(host)
        first = "127.0.0.1" if len(asked) == 1 else "169.254.169.254"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (first, port))]

    async with serving(status("200 OK")) as server:
        monkeypatch.setattr(module.socket, "getaddrinfo", lookup)
        out = Outgoing(allowed=[LOOPBACK])
        url = URL(f"http://rebinding.example:{server.port}/")
        assert (await out.send("POST", url, {}, b"x")).status == 200
        assert asked == ["rebinding.example"]
        with pytest.raises(Forbidden):
            await out.send("POST", url, {}, b"x")
        out.close()
    assert len(server.heard) == 1


async def test_redirect_is_not_followed() -> None:
    """A redirect is an answer like any other, wherever it leads."""
    target = "Location: http://169.254.169.254/latest/meta-data/"
    async with serving(status("301 Moved", target)) as server:
        out = Outgoing(allowed=[LOOPBACK])
        reply = await out.send(POST[0], URL(server.url), POST[1], POST[2])
        out.close()
    assert (reply.status, len(server.heard)) == (301, 1)


async def test_reply_is_cut() -> None:
    """Of ten megabytes 64 kB are read."""
    async with serving(flooding) as server:
        out = Outgoing(allowed=[LOOPBACK])
        reply = await out.send(POST[0], URL(server.url), POST[1], POST[2])
        out.close()
    assert (reply.status, len(reply.body)) == (200, REPLY_BYTES_MAX)
    assert reply.is_cut


@pytest.mark.parametrize("behave", [silent, dripping, slamming])
async def test_sent_without_answer_is_told(behave: Any) -> None:
    """Who never answers, or too slowly, or hangs up, may have done it."""
    async with serving(behave) as server:
        out = Outgoing(allowed=[LOOPBACK], timeout_s=0.5)
        with pytest.raises(Unanswered):
            await out.send(POST[0], URL(server.url), POST[1], POST[2])
        out.close()
    assert len(server.heard) == 1


async def test_nothing_sent_is_told(tmp_path: Path) -> None:
    """A closed port, an unknown name and a certificate of a stranger: nothing left."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        out = Outgoing(allowed=[LOOPBACK], timeout_s=5)
        for url in (f"http://127.0.0.1:{port}/", "https://nobody.invalid/"):
            with pytest.raises(NotSent):
                await out.send(POST[0], URL(url), POST[1], POST[2])
    tls = server_tls(tmp_path)
    async with serving(says(b""), tls) as server:
        url = URL(f"https://127.0.0.1:{server.port}/")
        with pytest.raises(NotSent):
            await out.send(POST[0], url, POST[1], POST[2])
        assert server.heard == []
    out.close()


async def test_own_authority_is_trusted(tmp_path: Path) -> None:
    """With its authority named, an internal server is reached over TLS."""
    tls = server_tls(tmp_path)
    async with serving(status("204 No Content"), tls) as server:
        out = Outgoing(allowed=[LOOPBACK], ca_file=tmp_path / "authority.pem")
        url = URL(f"https://127.0.0.1:{server.port}/")
        assert (await out.send(POST[0], url, POST[1], POST[2])).status == 204
        out.close()


async def test_hanging_lookup_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name server that is silent holds up its own receiver only, and not for long."""
    let_go = threading.Event()

    def lookup(*_: Any, **__: Any) -> list[Any]:
        let_go.wait()
        return []

    monkeypatch.setattr(module.socket, "getaddrinfo", lookup)
    out = Outgoing(timeout_s=0.2)
    with pytest.raises(NotSent):
        await out.addresses(URL("https://slow.example/"))
    let_go.set()
    out.close()


def server_tls(folder: Path) -> ssl.SSLContext:
    """A context of a server on 127.0.0.1; its authority is in authority.pem."""
    certificate, key = Authority(folder).issue("server")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    return tls
