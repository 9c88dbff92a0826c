"""One request from a template acts, and what came of it is known or said not to be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from streams.actuators.config import load
from streams.actuators.http import Http
from streams.actuators.parcel import Result, Word
from streams.actuators.table import KINDS
from streams.actuators.template import Form, Template
from tests.integration.certificates import Authority
from tests.unit.streams.receivers import (
    SECRET,
    START_MS,
    Behave,
    dripping,
    flooding,
    parcel,
    receiver,
    serving,
    silent,
    slamming,
    status,
)

EXAMPLES = Path(__file__).parents[3] / "deploy" / "actuators"
HOSTILE = "x\"},\n{{token}}\\'; DROP\x00 <b>&?#/../%2e"


def acting(url: str, more: str = "") -> Http:
    """A receiver that acts on this machine."""
    made = receiver(
        "name: one\nkind: http\nactions: [rollback]\nallow: [127.0.0.0/8]\n"
        "timeout_s: 1\nlease_s: 60\ntables: {app: {shop: '42'}}\nhttp:\n"
        f"  url: '{url}/{{{{app}}}}/{{{{release}}}}'\n"
        "  headers: {Authorization: {prefix: 'Bearer ', env: SECRET}}\n"
        '  json: \'{"to": "{{target}}", "why": "{{reason}}"}\'\n' + more
    )
    return Http(made)


async def delivered(behave: Behave, more: str = "", **changes: Any) -> Result:
    """Act once against a server."""
    async with serving(behave) as server:
        one = acting(server.url, more)
        result = await one.deliver(parcel(**changes), START_MS)
        one.close()
    return result


@pytest.mark.parametrize(
    ("behave", "word"),
    [
        (status("200 OK"), Word.DONE),
        (status("204 No Content"), Word.DONE),
        (status("500 No"), Word.FAILED),
        (status("404 No"), Word.FAILED),
        (status("302 Found", "Location: http://127.0.0.1/"), Word.FAILED),
        (status("429 Slow", "Retry-After: 9"), Word.AGAIN),
        (silent, Word.FAILED),
        (dripping, Word.FAILED),
        (slamming, Word.FAILED),
    ],
)
async def test_answers_end_as_they_say(behave: Behave, word: Word) -> None:
    """Done, surely not done, or nobody knows: which a person has to look at."""
    assert (await delivered(behave)).word is word


async def test_unsent_may_be_repeated() -> None:
    """A port nobody listens on and a forbidden address have done nothing."""
    for url in ("http://127.0.0.1:1", "https://169.254.169.254"):
        one = acting(url)
        assert (await one.deliver(parcel(), START_MS)).word is Word.AGAIN
        one.close()


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (b'{"state": {"now": "PAUSED"}}', Word.DONE),
        (b'{"state": {"now": "RUNNING"}}', Word.FAILED),
        (b'{"state": {"now": true}}', Word.FAILED),
        (b'{"state": []}', Word.FAILED),
        (b"<html>signed in</html>", Word.FAILED),
        (b"[" * 60_000, Word.FAILED),
        (b"", Word.FAILED),
    ],
)
async def test_success_is_what_was_said(body: bytes, word: Word) -> None:
    """With a pointer a 200 is not enough: the answer has to say it."""
    more = "  success: {statuses: [200], pointer: /state/now, equals: PAUSED}"
    assert (await delivered(status("200 OK", body=body), more)).word is word


async def test_long_answer_is_no_success() -> None:
    """What was cut can not be read as JSON."""
    more = "  success: {pointer: /a, equals: 1}"
    assert (await delivered(flooding, more)).word is Word.FAILED


async def test_places_can_not_break_out() -> None:
    """A hostile text stays inside its place, in the URL, the body and a header."""
    more = "  method: PUT"
    async with serving(status("200 OK")) as server:
        one = acting(server.url, more)
        changes = {"sentence": HOSTILE, "release": HOSTILE}
        await one.deliver(parcel(**changes), START_MS)
        one.close()
    head, body = server.heard[0]
    line, *headers = head.decode().split("\r\n")
    assert line.startswith("PUT /in/42/x%22%7D%2C%0A%7B%7Btoken%7D%7D")
    assert len(line.split(" ")) == 3
    assert json.loads(body) == {"to": "2.3.1", "why": HOSTILE}
    assert f"Authorization: Bearer {SECRET}" in headers
    header = Template("a {{reason}}", Form.HEADER).fill({"reason": HOSTILE})
    assert header.isprintable()


async def test_unfilled_place_is_an_obstacle() -> None:
    """A service that no table knows, a rollback to nowhere: told before any claim."""
    one = acting("http://127.0.0.1:1")
    assert one.obstacle(parcel()) == ""
    assert "{{app}}" in one.obstacle(parcel(service="pay"))
    assert "{{target}}" in one.obstacle(parcel(target=None))
    one.close()


async def test_secret_file_is_read_anew(tmp_path: Path) -> None:
    """A token that somebody renews is used as it is now; without it nothing is sent."""
    path = tmp_path / "token"
    path.write_text("old")
    text = (
        "name: one\nkind: http\nactions: [hold]\nallow: [127.0.0.0/8]\nhttp:\n"
        f"  url: '%s'\n  headers: {{X-Api-Key: {{file: '{path}'}}}}"
    )
    async with serving(status("200 OK")) as server:
        one = Http(receiver(text.replace("%s", server.url)))
        for token in ("old", "new"):
            path.write_text(token)
            assert (await one.deliver(parcel(), START_MS)).word is Word.DONE
        path.unlink()
        assert (await one.deliver(parcel(), START_MS)).word is Word.AGAIN
        one.close()
    sent = [head.decode() for head, _ in server.heard]
    assert ["X-Api-Key: old" in sent[0], "X-Api-Key: new" in sent[1]] == [True, True]


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("kind: flags", "actions is missing"),
        ("kind: flags\nactions: [rollback]", "flags can not do rollback"),
        ("kind: webhok", "did you mean webhook"),
        ("kind: nothing\nallow: [0.0.0.0/0]", "holds 0.0.0.0/8"),
        ("kind: nothing\nallow: [169.254.0.0/15]", "holds 169.254.0.0/16"),
        ("kind: nothing\nservices: &a [x]", "anchors"),
        ("kind: http\nactions: hold\nhttp: {url: 'https://{{service}}.x/'}", "host"),
        ("kind: http\nactions: hold\nhttp: {url: 'ftp://x/'}", "neither https"),
        ("kind: http\nactions: hold\nhttp: {url: 'https://u:p@x/'}", "a user in"),
        (
            "kind: http\nactions: hold\nhttp: {url: 'https://x/{{svc}}'}",
            "no known place",
        ),
        (
            "kind: http\nactions: hold\nhttp: {url: 'https://x/', json: '{{reason}}'}",
            "inside quotes",
        ),
        (
            "kind: http\nactions: hold\nhttp: {url: 'https://x/', "
            "headers: {Authorization: abc}}",
            "a secret in the file itself",
        ),
        (
            "kind: http\nactions: hold\nlease_s: 30\ntimeout_s: 60\n"
            "http: {url: 'https://x/'}",
            "too short",
        ),
        ("kind: webhook\nwebhook: {url: 'https://x/', secrets: [abc]}", "never the"),
        ("kind: webhook\nwebhook: {url: 'https://x/'}", "secrets is missing"),
    ],
)
def test_wrong_files_are_refused(entry: str, said: str) -> None:
    """Each mistake is told with its place and the fix before anything runs."""
    with pytest.raises(Exception, match=r"r\.yaml:\d+:\d+") as caught:
        receiver("name: one\n" + entry)
    assert said in str(caught.value)


def test_cut_file_is_refused() -> None:
    """A file that lost its end is not taken for one with fewer receivers."""
    text = "version: 1\nreceivers: []\nend_of_receivers: false\n"
    for cut in (text, text.partition("end")[0]):
        with pytest.raises(Exception, match="end_of_receivers"):
            load(cut, source="r.yaml", environment={})


@pytest.mark.parametrize(
    "path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.stem
)
async def test_shipped_examples_are_valid(path: Path, tmp_path: Path) -> None:
    """Every example loads, and its request can be made up from a recommendation."""
    known = {"component": "checkout", "service": "shop"}
    token = tmp_path / "token"
    token.write_text("t")
    text = path.read_text(encoding="utf-8").replace("/run/secrets/token", str(token))
    text = text.replace("/run/secrets/ca.crt", str(Authority(tmp_path).file))
    found = load(text, source=path.name, environment={"TOKEN": "t"})
    assert found
    for one in found:
        assert one.actions != ("*",)
        actuator = KINDS[one.kind].make(one)
        assert actuator.obstacle(parcel(**known)) == ""
        actuator.close()
