"""Flags over HTTP: a name for every document, and the last good one while it lasts."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from acting.ledger import Ledger
from acting.switches import Place, Switched
from streams.errors import Refused, Unreachable
from streams.gate.flags import FlagDesk, add_flags

FILE = """\
flags:
  cart:
    state: ENABLED
    variants: {"on": true, "off": false}
    defaultVariant: "on"
    switches: {service: shop, component: cart, withdrawn: "off"}
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

    def withdraw(self) -> None:
        """Carry a withdrawal out."""
        self.ledger.known.switched[CART] = Switched("withdraw", None, "rec_a", 1)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """A desk that has read nothing yet."""
    return Scene(tmp_path / "flags.yaml")


@pytest.fixture
async def client(scene: Scene) -> AsyncIterator[TestClient[Any, Any]]:
    """Asks the routes; whoever sends `X-No` is not admitted."""

    def admit(request: web.Request) -> None:
        if "X-No" in request.headers:
            raise web.HTTPForbidden

    app = web.Application()
    add_flags(app, scene.desk, admit)
    async with TestClient(TestServer(app)) as made:
        yield made


async def variant(client: TestClient[Any, Any]) -> str:
    """What the document says of the cart."""
    found = await (await client.get(PATH)).json()
    return str(found["flags"]["cart"]["defaultVariant"])


async def test_known_document_is_not_sent_again(
    scene: Scene, client: TestClient[Any, Any]
) -> None:
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


async def test_last_good_document_stays(
    scene: Scene, client: TestClient[Any, Any]
) -> None:
    """A file that is wrong, gone, or Kafka away: what was off stays off, and the reason
    is told; the mended file counts again."""
    scene.withdraw()
    await scene.desk.refresh()
    scene.write(FILE.replace("ENABLED", "MAYBE"))
    await scene.desk.refresh()
    assert "must be ENABLED or DISABLED" in scene.desk.problem
    assert await variant(client) == "off"
    scene.path.unlink()
    await scene.desk.refresh()
    assert "can not be read" in scene.desk.problem
    scene.away = "no broker answers"
    await scene.desk.refresh()
    assert scene.desk.problem == "no broker answers"
    assert await variant(client) == "off"
    scene.away = ""
    scene.write(FILE)
    await scene.desk.refresh()
    assert scene.desk.problem == ""


async def test_withdrawal_outlives_a_new_file(
    scene: Scene, client: TestClient[Any, Any]
) -> None:
    """A new file does not switch on what was withdrawn."""
    scene.withdraw()
    scene.write(
        FILE.replace("defaultVariant", 'metadata: {a: "b"}\n    defaultVariant')
    )
    await scene.desk.refresh()
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


async def test_ofrep_answers(scene: Scene, client: TestClient[Any, Any]) -> None:
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


async def test_nobody_reads_without_leave(client: TestClient[Any, Any]) -> None:
    """Every route asks who it is first."""
    no = {"X-No": "1"}
    assert (await client.get(PATH, headers=no)).status == 403
    assert (await client.post(ONE, headers=no)).status == 403
    assert (await client.post(ALL, headers=no)).status == 403
