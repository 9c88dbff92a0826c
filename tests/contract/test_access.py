"""Who is let in: tokens for some services, files that change, TLS, slow clients."""

from __future__ import annotations

import shutil
import socket
import ssl
from contextlib import closing
from pathlib import Path

import pytest

from acting.answers import Answer, Ruling, Why
from streams import serving
from streams.errors import Refused
from streams.gate import bodies
from streams.gate.access import TokenFile, digest_of, new_token
from streams.gate.tls import Certificates
from tests.integration.certificates import Authority
from tests.integration.gating import Place, Served
from tests.integration.support import until

pytestmark = pytest.mark.kafka

SHOP, PAY = "/v1/gate?service=shop&release=healthy", "/v1/gate?service=pay&release=1"


def line(name: str, scope: str, token: str, services: str = "") -> str:
    """A line of a token file."""
    return f"{name} {scope} {digest_of(token).hex()} {services}".rstrip()


def test_token_is_good_for_its_services(place: Place) -> None:
    """A team's token asks, claims, reports and orders for its services alone, sees no
    others in lists, and can not speak for all."""
    team = new_token()
    place.write_tokens(line("team", "admin", team, "pay,cart-*"))
    claim = {"release": "regressed", "token": "t" * 16}
    stop = {"word": "freeze", "why": "test"}
    with place.served() as gates:
        assert gates.ask(SHOP, token=team).status == 403
        assert gates.ask(PAY, token=team).status == 200
        assert gates.ask(PAY.replace("pay", "cart-2"), token=team).status == 200
        for service, status in (("shop", 403), ("pay", 200)):
            body = {"service": service, **claim}
            assert gates.ask("/v1/claims", body, token=team).status == status
            body = {"service": service, **stop}
            assert gates.ask("/v1/orders", body, token=team).status == status
            hook = {"name": service, "namespace": "x", "metadata": {"release": "1"}}
            assert gates.ask("/flagger/event", hook, token=team).status == status
        assert gates.ask("/v1/orders", stop, token=team).status == 403
        unknown = {"word": "reject", "why": "test", "recommendation_id": "rec_x"}
        assert gates.ask("/v1/orders", unknown, token=team).status == 403
        listed = "/v1/recommendations"
        assert gates.ask(listed, token=team).body["recommendations"] == []
        assert gates.ask(listed, token="read").body["recommendations"]


def test_own_recommendation_is_ordered(place: Place) -> None:
    """An order on a recommendation is allowed to whom its service belongs."""
    team = new_token()
    place.write_tokens(line("team", "admin", team, "sh?p"))
    with place.served() as gates:
        told = gates.ask(SHOP.replace("healthy", "regressed"), token=team).body
        order = {"word": "approve", "why": "seen", "value": "rollback"}
        order["recommendation_id"] = told["data"]["recommendation"]
        assert gates.ask("/v1/orders", order, token=team).status == 200


def test_changed_tokens_are_taken(tmp_path: Path) -> None:
    """A new file counts once it rests; one with a bad line changes nothing."""
    path, old, new = tmp_path / "tokens", new_token(), new_token()
    path.write_text(line("a", "read", old))
    found = TokenFile(path)
    path.write_text(line("b", "read", new) + "\nnonsense")
    for _ in range(3):
        found.poll()
    assert found.tokens.bearer(old)
    path.write_text(line("b", "read", new))
    found.poll()
    assert found.tokens.bearer(old), "it may still be written"
    found.poll()
    assert (found.tokens.bearer(old), bool(found.tokens.bearer(new))) == (None, True)
    path.unlink()
    for _ in range(3):
        found.poll()
    assert found.tokens.bearer(new)


def test_running_gates_take_new_tokens(place: Place) -> None:
    """A token that was taken out is refused within seconds, without a restart."""
    with place.served(tokens=TokenFile(place.token_file)) as gates:
        assert gates.ask(SHOP, token="read").status == 200
        kept = place.token_file.read_text()
        place.token_file.write_text(line("new", "read", new_token()))
        until(
            lambda: gates.ask(SHOP, token="read").status == 401,
            what="the old token is refused",
            limit_s=20,
        )
    place.token_file.write_text(kept)


def trusting(authority: Authority, *own: Path) -> ssl.SSLContext:
    """A client's side of TLS."""
    context = ssl.create_default_context(cafile=str(authority.file))
    if own:
        context.load_cert_chain(*own)
    return context


def served_to(gates: Served, tls: ssl.SSLContext) -> bytes:
    """The certificate that a new connection is shown."""
    with (
        closing(socket.create_connection(("127.0.0.1", gates.port), 10)) as plain,
        tls.wrap_socket(plain, server_hostname="127.0.0.1") as wrapped,
    ):
        return wrapped.getpeercert(binary_form=True) or b""


def test_certificate_is_replaced_live(place: Place, tmp_path: Path) -> None:
    """Over TLS the gates answer as before; a half replaced pair changes nothing, a
    whole one is shown to new connections."""
    authority = Authority(tmp_path)
    pair = tuple(tmp_path / name for name in ("live.crt", "live.key"))
    first, second = authority.issue("first"), authority.issue("second")
    for source, target in zip(first, pair, strict=True):
        shutil.copy(source, target)
    known, tls = Certificates(*pair, None), trusting(authority)
    with place.served(certificates=known) as gates:
        assert gates.ask(SHOP, tls=tls).status == 200
        shown = served_to(gates, tls)
        shutil.copy(second[0], pair[0])
        for _ in range(3):
            known.poll()
        assert served_to(gates, tls) == shown
        shutil.copy(second[1], pair[1])
        for _ in range(3):
            known.poll()
        assert served_to(gates, tls) != shown
        assert gates.ask(SHOP, tls=tls).status == 200


def test_clients_show_certificates(place: Place, tmp_path: Path) -> None:
    """With an authority for clients, those without a certificate of it get no answer,
    whatever token they have."""
    authority = Authority(tmp_path)
    known = Certificates(*authority.issue("gates"), authority.file)
    with place.served(certificates=known) as gates:
        own = authority.issue("client")
        assert gates.ask(SHOP, tls=trusting(authority, *own)).status == 200
        with pytest.raises((ssl.SSLError, OSError)):
            gates.ask(SHOP, tls=trusting(authority))


def test_useless_certificates_are_refused(tmp_path: Path) -> None:
    """A key that does not fit, an encrypted one and no certificate are named."""
    authority = Authority(tmp_path)
    (cert, _), (_, other) = authority.issue("one"), authority.issue("two")
    locked = authority.issue("three", "secret")
    for pair in ((cert, other), locked, (other, other)):
        with pytest.raises(Refused, match=pair[0].name):
            Certificates(*pair, None)


def raw(gates: Served, sent: bytes) -> bytes:
    """What comes back for these bytes, up to the end or 64 KiB."""
    with closing(socket.create_connection(("127.0.0.1", gates.port), 20)) as plain:
        plain.sendall(sent)
        plain.settimeout(20)
        found = b""
        while len(found) < 65_536 and (more := plain.recv(65_536)):
            found += more
            if b"\r\n\r\n" in found:
                break
        return found


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 20_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: a\r\n" * 500 + b"\r\n",
    ],
    ids=["line", "header", "headers"],
)
def test_large_heads_are_refused(
    served: Served, head: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """A long line, a long header and many headers are 400, not memory, and no line in
    the log: strangers could fill it."""
    assert raw(served, head).split(b" ")[1] == b"400"
    assert not [one for one in caplog.records if "aiohttp" in one.name]
    assert not [one for one in caplog.records if "serving" in one.name]


def test_large_bodies_are_refused(served: Served) -> None:
    """More than 64 KiB is 413, sent in pieces or announced."""
    found = served.ask("/v1/claims", b" " * 70_000)
    assert (found.status, "json" in found.headers["Content-Type"]) == (413, True)


def test_slow_body_is_not_awaited(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A body that does not come is 408, and holds nobody else up."""
    monkeypatch.setattr(bodies, "BODY_S", 0.2)
    head = (
        b"POST /flagger/event HTTP/1.1\r\nHost: localhost\r\n"
        b"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
    )
    assert raw(served, head).startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("sent", [b"", b"GET /v1/gate HTT", b"GET / HTTP/1.1\r\nX: 1"])
def test_slow_heads_are_closed(
    place: Place, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    """A connection that sends no whole head is closed, not kept."""
    monkeypatch.setattr(serving, "IDLE_S", 0.3)
    with place.served() as gates:
        assert raw(gates, sent) == b""


def test_switch_of_the_machine_holds(place: Place) -> None:
    """While the kill switch of the machine is on, a claim and Flagger's rollback hear
    no, questions go on, and the metric shows it."""
    hook = {"name": "shop", "namespace": "x", "metadata": {"release": "regressed"}}
    claim = {"service": "shop", "release": "regressed", "token": "s" * 16}
    switch = Ruling(Answer.FROZEN, Why.KILLED, "the file is there")
    with place.served(stopped_here=lambda: switch) as gates:
        said = gates.ask("/v1/claims", claim).body
        assert (said["answer"], said["why"]) == (22, "killed")
        found = gates.ask("/flagger/rollback", hook)
        assert found.status == 409
        assert found.body["reason"].startswith("frozen: killed: the file is there")
        assert gates.ask(SHOP).status == 200
        assert "hypercare_kill_switch_engaged 1.0" in gates.ask("/metrics").text
        leases = gates.ask("/v1/executions").body["leases"]
        assert not [one for one in leases if one["release"] == "regressed"]


def test_own_fault_is_a_stale_verdict(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault of ours is told to jobs as 500, to Argo and Flagger as a verdict that
    is stale; what went wrong stands in the log alone."""

    def broken(*_: object) -> None:
        raise RuntimeError("secret")

    with place.served() as gates:
        monkeypatch.setattr(gates.board, "situation", broken)
        monkeypatch.setattr(gates.board, "recommendations", broken)
        hook = {"name": "shop", "namespace": "x", "metadata": {"release": "1"}}
        found = [
            gates.ask("/v1/recommendations"),
            gates.ask(SHOP),
            gates.ask("/flagger/rollout", hook),
            gates.ask("/flagger/rollback", hook),
        ]
    assert [one.status for one in found] == [500, 200, 200, 409]
    assert found[1].body["data"]["standing"] == "stale"
    assert not [one for one in found if "secret" in one.text]


def test_limits_are_told_to_jobs(place: Place) -> None:
    """A job beyond its limit hears 429 and when to come back; another token, and the
    pages for supervisors, go on."""
    with place.served(rate_per_s=0.1) as slow:
        found = [slow.ask("/v1/recommendations", token="act") for _ in range(2)]
        assert [one.status for one in found] == [200, 429]
        assert 1 <= int(found[1].headers["Retry-After"]) <= 10
        assert slow.ask("/v1/recommendations", token="read").status == 200
        assert slow.ask("/healthz", token=None).status == 200


def test_strangers_are_slowed_down(place: Place) -> None:
    """Guessing tokens ends in 429; a known token from the same address goes on."""
    with place.served(rate_per_s=0.3) as slow:
        path = "/v1/recommendations"
        found = [slow.ask(path, token=f"guess-{n}").status for n in range(6)]
        assert found == [401, 401, 401, 429, 429, 429]
        assert slow.ask(path, token="read").status == 200
