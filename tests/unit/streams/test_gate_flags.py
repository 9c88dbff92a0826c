"""Flags over HTTP: a name for every document, and the last good one while it lasts."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from aiohttp.test_utils import TestClient, TestServer

from acting.ledger import Ledger
from acting.switches import Place, Switched
from streams.errors import Refused, Unreachable
from streams.gate.access import TokenFile, digest_of
from streams.gate.board import Board
from streams.gate.flags import FlagDesk
from streams.gate.judging import Judge
from streams.gate.metrics import GateMetrics
from streams.gate.server import Access, Gates
from streams.settings import Settings
from streams.signing import Verifier

FILE = """\
flags:
  cart:
    state: ENABLED
    variants: {"on": true, "off": false}
    defaultVariant: "on"
    switches: {service: shop, component: cart, withdrawn: "off"}
"""
SHARED = """\
$evaluators:
  friend: {ends_with: [{var: email}, "@example.org"]}
  android: {"==": [{var: os}, android]}
flags:
  cart:
    state: ENABLED
    variants: {"on": true, "off": false}
    defaultVariant: "on"
    targeting: {if: [{"$ref": friend}, "off", null]}
    switches: {service: shop, component: cart, withdrawn: "off"}
  card:
    state: ENABLED
    variants: {"a": "A", "b": "B"}
    defaultVariant: "a"
    targeting: {if: [{"$ref": android}, "b", null]}
    service: pay
  nobodys:
    state: ENABLED
    variants: {"low": 1, "high": 2}
    defaultVariant: "low"
"""
CART = Place("shop", "production", "cart")
PATH, ONE, ALL = (
    "/v1/flags.json",
    "/ofrep/v1/evaluate/flags/cart",
    "/ofrep/v1/evaluate/flags",
)


class Scene:
    """A desk over a file and a ledger that may be away."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.write(FILE)
        self.ledger = Ledger()
        self.away = ""
        self.desk = FlagDesk(path, self.read)

    async def read(self) -> Ledger:
        """The ledger, while Kafka answers."""
        if self.away:
            raise Unreachable(self.away)
        return self.ledger

    def write(self, text: str) -> None:
        """Replace the file at once."""
        fresh = self.path.with_suffix(".new")
        fresh.write_text(text)
        os.replace(fresh, self.path)

    async def look(self) -> None:
        """As often as it takes to see that a file is at rest."""
        await self.desk.refresh()
        await self.desk.refresh()

    def withdraw(self) -> None:
        """Carry a withdrawal out."""
        self.ledger.known.switched[CART] = Switched("withdraw", None, "rec_a", 1)


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """A desk that has read nothing yet, and looks only when a test tells it to."""
    monkeypatch.setattr("streams.gate.flags.REFRESH_S", 3_600.0)
    return Scene(tmp_path / "flags.yaml")


def gates(desk: FlagDesk | None, tokens: Path) -> tuple[Gates, GateMetrics]:
    """Gates with a token that is good for all, and one for each service."""
    lines = [("all", ""), ("shop", "shop"), ("pay", "pa?"), ("other", "other")]
    tokens.write_text(
        "\n".join(f"{n} read {digest_of(n).hex()} {p}".rstrip() for n, p in lines)
    )
    board = Board(Settings(), now_ms=lambda: 0)
    # No route of flags asks the judge: the desk has the ledger.
    judge = Judge(board, cast(Any, None), Verifier(()), now_ms=lambda: 0)
    metrics = GateMetrics(judge, now_ms=lambda: 0)
    made = Gates(
        judge,
        Access(tokens=TokenFile(tokens)),
        host="127.0.0.1",
        port=0,
        metrics=metrics,
        monotonic_s=lambda: 0.0,
        flags=desk,
    )
    return made, metrics


Client = TestClient[Any, Any]


@asynccontextmanager
async def asking(desk: FlagDesk | None, tokens: Path) -> AsyncIterator[Client]:
    """A client of the gates that shows the token that is good for all."""
    made, _ = gates(desk, tokens)
    headers = {"Authorization": "Bearer all"}
    async with TestClient(TestServer(made.application()), headers=headers) as found:
        yield found


@pytest.fixture
async def client(scene: Scene, tmp_path: Path) -> AsyncIterator[Client]:
    """Asks the routes."""
    async with asking(scene.desk, tmp_path / "tokens") as found:
        yield found


def token(name: str) -> dict[str, str]:
    """Ask with another token."""
    return {"Authorization": f"Bearer {name}"}


async def variant(client: Client) -> str:
    """What the document says of the cart."""
    found = await (await client.get(PATH)).json()
    return str(found["flags"]["cart"]["defaultVariant"])


async def test_known_document_is_not_sent_again(scene: Scene, client: Client) -> None:
    """A strong name of the bytes; 304 while it holds, another one after a change."""
    first = await client.get(PATH)
    etag = first.headers["ETag"]
    assert etag.startswith('"')
    assert first.content_type == "application/json"
    for told in (etag, f'"x", W/{etag}', "*"):
        again = await client.get(PATH, headers={"If-None-Match": told})
        assert (again.status, await again.read()) == (304, b"")
        assert again.headers["ETag"] == etag
    head = await client.head(PATH)
    assert (head.status, head.headers["ETag"]) == (200, etag)
    assert await head.read() == b""
    scene.withdraw()
    await scene.desk.refresh()
    changed = await client.get(PATH, headers={"If-None-Match": etag})
    assert changed.status == 200
    assert changed.headers["ETag"] != etag
    assert await variant(client) == "off"


async def test_last_good_document_stays(scene: Scene, client: Client) -> None:
    """A file that is wrong, gone, or Kafka away: what was off stays off, and the reason
    is told; the mended file counts again."""
    scene.withdraw()
    await scene.desk.refresh()
    scene.write(FILE.replace("ENABLED", "MAYBE"))
    await scene.look()
    assert "must be ENABLED or DISABLED" in scene.desk.problem
    assert not scene.desk.is_current
    assert await variant(client) == "off"
    scene.path.unlink()
    await scene.look()
    assert "can not be read" in scene.desk.problem
    scene.away = "no broker answers"
    await scene.desk.refresh()
    assert scene.desk.problem == "no broker answers"
    assert await variant(client) == "off"
    scene.away = ""
    scene.write(FILE)
    await scene.look()
    assert (scene.desk.problem, scene.desk.is_current) == ("", True)


async def test_half_a_file_is_never_served(scene: Scene, client: Client) -> None:
    """YAML that is cut off between two flags is a whole document: it is looked at once
    the file rests, and the whole file is what is read then."""
    whole = FILE + FILE.removeprefix("flags:\n").replace("cart", "late")
    scene.path.write_text(FILE.replace("ENABLED", "DISABLED"))
    await scene.desk.refresh()
    assert await variant(client) == "on", "it may still be written"
    found = await (await client.get(PATH)).json()
    assert found["flags"]["cart"]["state"] == "ENABLED"
    scene.path.write_text(whole)
    await scene.desk.refresh()
    await scene.desk.refresh()
    found = await (await client.get(PATH)).json()
    assert sorted(found["flags"]) == ["cart", "late"]


async def test_mark_tells_what_was_cut_off(scene: Scene, client: Client) -> None:
    """A writer that pauses leaves half a file at rest: where the file in force has the
    mark at its end, one without it is refused."""
    marked = SHARED + "end_of_flags: true\n"
    scene.write(marked)
    await scene.look()
    assert len((await (await client.get(PATH)).json())["flags"]) == 3
    scene.write(SHARED[: SHARED.index("  nobodys:")])
    await scene.look()
    assert "may be cut off" in scene.desk.problem
    assert len((await (await client.get(PATH)).json())["flags"]) == 3
    scene.write(marked.replace('"high": 2', '"high": 3'))
    await scene.look()
    assert scene.desk.problem == ""


async def test_refused_file_is_in_the_metrics(scene: Scene, tmp_path: Path) -> None:
    """0 while the file as it is now is not in force, as for tokens."""
    _, metrics = gates(scene.desk, tmp_path / "tokens")
    assert {n: f.is_current for n, f in metrics.files.items()} == {
        "tokens": True,
        "flags": True,
    }
    scene.write("flags: 1\n")
    await scene.look()
    assert not metrics.files["flags"].is_current


async def test_withdrawal_outlives_a_new_file(scene: Scene, client: Client) -> None:
    """A new file does not switch on what was withdrawn."""
    scene.withdraw()
    scene.write(
        FILE.replace("defaultVariant", 'metadata: {a: "b"}\n    defaultVariant')
    )
    await scene.look()
    found = await (await client.get(PATH)).json()
    assert found["flags"]["cart"]["metadata"]["a"] == "b"
    assert await variant(client) == "off"


async def test_unread_executions_serve_nothing(scene: Scene) -> None:
    """Before anything was read nobody is told that a component is on."""
    scene.away = "no broker answers"
    await scene.desk.refresh()
    assert scene.desk.served is None


def test_bad_file_is_refused_at_start(tmp_path: Path, scene: Scene) -> None:
    """There is no last good document then."""
    scene.write("flags: 1\n")
    with pytest.raises(Refused, match="`flags` is missing"):
        FlagDesk(scene.path, scene.read)
    with pytest.raises(Refused, match="can not be read"):
        FlagDesk(tmp_path / "none", scene.read)


async def test_ofrep_answers(scene: Scene, client: Client) -> None:
    """One flag, all of them with a name, and errors in the words of the protocol."""
    found = await (await client.post(ONE, json={"context": {"a": 1}})).json()
    assert (found["value"], found["reason"], found["variant"]) == (True, "STATIC", "on")
    whole = await client.post(ALL, json={"context": {}})
    (flag,) = (await whole.json())["flags"]
    assert flag == found
    same = {"If-None-Match": whole.headers["ETag"]}
    assert (await client.post(ALL, json={}, headers=same)).status == 304
    scene.withdraw()
    await scene.desk.refresh()
    assert (await client.post(ALL, json={}, headers=same)).status == 200
    for body in (b"{", b"[]", b'{"context": 1}'):
        for path in (ONE, ALL):
            wrong = await client.post(path, data=body)
            assert wrong.status == 400
            assert (await wrong.json())["errorCode"] == "INVALID_CONTEXT"


async def test_targeting_is_evaluated(scene: Scene, client: Client) -> None:
    """By the context that was sent; a withdrawn flag has no targeting left."""
    scene.write(SHARED)
    await scene.look()

    async def cart(**context: Any) -> tuple[Any, ...]:
        found = await (await client.post(ONE, json={"context": context})).json()
        return found["value"], found["reason"]

    assert await cart(email="ada@example.org") == (False, "TARGETING_MATCH")
    assert await cart(email="ada@example.com") == (True, "DEFAULT")
    scene.withdraw()
    await scene.desk.refresh()
    assert await cart(email="ada@example.com") == (False, "STATIC")
    wrong = await client.post(ONE, json={"context": {"targetingKey": 1}})
    assert wrong.status == 400
    assert "targetingKey" in (await wrong.json())["errorDetails"]


async def test_limited_token_sees_its_flags(scene: Scene, client: Client) -> None:
    """The same ones in the document and over OFREP, with the shared rules that they
    use, under another name; others are not there, and nobody's are for all tokens."""
    scene.write(SHARED)
    await scene.look()
    cases = {
        "all": (["card", "cart", "nobodys"], ["android", "friend"]),
        "shop": (["cart"], ["friend"]),
        "pay": (["card"], ["android"]),
        "other": ([], []),
    }
    etags = set()
    for name, (flags, rules) in cases.items():
        told = await client.get(PATH, headers=token(name))
        found = await told.json()
        assert sorted(found["flags"]) == flags
        assert sorted(found["$evaluators"]) == rules
        etags.add(told.headers["ETag"])
        whole = await client.post(ALL, json={"context": {}}, headers=token(name))
        assert [flag["key"] for flag in (await whole.json())["flags"]] == flags
        for key in ("cart", "card", "nobodys"):
            path = f"{ALL}/{key}"
            answer = await client.post(path, json={"context": {}}, headers=token(name))
            assert answer.status == (200 if key in flags else 404)
            body = await answer.json()
            assert key in flags or body["errorCode"] == "FLAG_NOT_FOUND"
    assert len(etags) == len(cases)


async def test_flag_changes_hands(scene: Scene, client: Client) -> None:
    """Whose a flag is stands beside the document and counts at once, too."""

    async def status(name: str) -> int:
        made = client.post(f"{ALL}/card", json={}, headers=token(name))
        return (await made).status

    scene.write(SHARED)
    await scene.look()
    assert (await status("pay"), await status("other")) == (200, 404)
    scene.write(SHARED.replace("service: pay", "service: other"))
    await scene.look()
    assert (await status("pay"), await status("other")) == (404, 200)


async def test_without_a_file_there_are_none(tmp_path: Path) -> None:
    """The routes are there and say what is missing."""
    async with asking(None, tmp_path / "tokens") as client:
        for made in (client.get(PATH), client.post(ALL, json={})):
            answer = await made
            assert answer.status == 404
            assert "HYPERCARE_FLAGS_FILE" in (await answer.json())["title"]
        answer = await client.post(ONE, json={})
        assert (await answer.json())["errorCode"] == "FLAG_NOT_FOUND"


async def test_requests_are_counted(scene: Scene, tmp_path: Path) -> None:
    """By protocol and status."""
    made, metrics = gates(scene.desk, tmp_path / "tokens")
    server = TestServer(made.application())
    async with TestClient(server, headers=token("all")) as client:
        etag = (await client.get(PATH)).headers["ETag"]
        await client.get(PATH, headers={"If-None-Match": etag})
        await client.post(ONE, json={})
        await client.post(ALL, data=b"{")
    assert metrics.requests == {
        ("flags", "200"): 1,
        ("flags", "304"): 1,
        ("ofrep", "200"): 1,
        ("ofrep", "400"): 1,
    }


async def test_nobody_reads_without_a_token(client: Client) -> None:
    """Every route asks who it is first."""
    no = token("none")
    assert (await client.get(PATH, headers=no)).status == 401
    assert (await client.post(ONE, headers=no)).status == 401
    assert (await client.post(ALL, headers=no)).status == 401
