"""Answers of a Prometheus that has no time, refuses, or is none."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from yarl import URL

from streams.errors import Refused, Unreachable
from streams.prometheus import client
from streams.prometheus.client import Access, Found, Prometheus

FOUND = {
    "status": "success",
    "warnings": ["partial"],
    "data": {
        "resultType": "vector",
        "result": [{"metric": {"a": "b"}, "value": [1, "2"]}],
    },
}
Answer = Callable[[], web.Response]


class Desk:
    """A server that gives its answers in order, the last one again and again."""

    def __init__(self, *answers: Answer) -> None:
        self.heard: list[web.Request] = []
        self.slept_s: list[float] = []
        self._answers = list(answers)

    async def _answer(self, request: web.Request) -> web.Response:
        self.heard.append(request)
        answer = self._answers[0]
        if len(self._answers) > 1:
            del self._answers[0]
        return answer()

    async def _sleep(self, wait_s: float) -> None:
        self.slept_s.append(wait_s)

    async def asked(self) -> list[Found]:
        """What the client makes of it."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        async with TestServer(app) as server:
            access = Access(
                URL(str(server.make_url("/prom"))), {"Authorization": "Bearer hush"}
            )
            async with Prometheus(access, sleep=self._sleep) as api:
                found = await api.instant("up", 1_000)
                assert ["partial"] == list(api.warnings)
                return found


def fine() -> web.Response:
    """A value."""
    return web.json_response(FOUND)


def says(status: int, text: str = "", **headers: str) -> Answer:
    """An answer in the words of Prometheus."""
    body = {"status": "error", "errorType": "bad_data", "error": text}
    return lambda: web.json_response(body, status=status, headers=headers)


async def test_question_goes_below_the_prefix_with_its_headers() -> None:
    """The path of the address is kept, the credentials are sent."""
    desk = Desk(fine)
    assert [Found({"a": "b"}, value=(1.0, "2"))] == await desk.asked()
    (heard,) = desk.heard
    assert ("/prom/api/v1/query", "up") == (heard.path, heard.query["query"])
    assert "Bearer hush" == heard.headers["Authorization"]


async def test_busy_server_is_asked_again_when_it_says() -> None:
    """Retry-After in seconds, else longer each time, a minute at most."""
    busy = [
        says(429, **{"Retry-After": "7"}),
        says(503),
        says(503, **{"Retry-After": "900"}),
    ]
    desk = Desk(*busy, fine)
    await desk.asked()
    assert [7.0, 2.0, 60.0] == desk.slept_s


async def test_busy_server_is_given_up() -> None:
    """After five questions it is said that nobody answers, and with what."""
    desk = Desk(says(503, "too busy"))
    with pytest.raises(Unreachable, match="answered 503: bad_data too busy"):
        await desk.asked()
    assert (5, 4) == (len(desk.heard), len(desk.slept_s))


@pytest.mark.parametrize(
    ("status", "kind", "fix"),
    [
        (400, Refused, "check the selectors"),
        (422, Refused, "narrow them"),
        (401, Refused, "--bearer-file"),
        (403, Refused, "--header"),
        (404, Refused, "prefix"),
        (500, Unreachable, "later"),
    ],
)
async def test_refusal_is_told_in_its_words(
    status: int, kind: type[Exception], fix: str
) -> None:
    """What the server said, what helps, and no secret; asked once."""
    desk = Desk(says(status, "exceeded\x1b maximum"))
    with pytest.raises(kind) as error:
        await desk.asked()
    assert f"answered {status}: bad_data exceeded  maximum" in str(error.value)
    assert (True, False) == (fix in str(error.value), "hush" in str(error.value))
    assert 1 == len(desk.heard)


async def test_redirects_are_not_followed() -> None:
    """A secret goes to the host that was named and to no other."""
    desk = Desk(
        lambda: web.Response(status=302, headers={"Location": "http://evil/?a=b"})
    )
    with pytest.raises(Refused, match="a redirect to evil, which is not followed"):
        await desk.asked()
    assert 1 == len(desk.heard)


@pytest.mark.parametrize("text", ["<html>", "[]", '{"status":"success"}'])
async def test_what_is_no_prometheus_is_said(text: str) -> None:
    """Another server's page is an error with the fix."""
    with pytest.raises(Refused, match="the answer is none of Prometheus"):
        await Desk(lambda: web.Response(text=text)).asked()


async def test_endless_answer_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """No answer fills the memory."""
    monkeypatch.setattr(client, "ANSWER_BYTES_MAX", 1000)
    with pytest.raises(Refused, match="narrow the selectors"):
        await Desk(lambda: web.Response(text="x" * 2000)).asked()
