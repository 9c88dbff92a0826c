"""Questions to the HTTP API of Prometheus, or of what speaks as it does.

Redirects are not followed, so a secret goes to the host that was named and no other.
Nothing that was sent stands in an error; what the server said does.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, TypeVar

import aiohttp
import msgspec
from msgspec import Struct
from yarl import URL

from streams.errors import Refused, Unreachable

ANSWER_BYTES_MAX = 256 << 20
CONNECT_S = 10.0
TRIES = 5
WAIT_S_MAX = 60.0
SAID_CHARS = 500
BUSY = (429, 503)

Sleep = Callable[[float], Awaitable[None]]


class Found(Struct):
    """A series of an answer: ``values`` of a range, ``value`` of an instant."""

    metric: dict[str, str]
    values: list[tuple[float, str]] = []
    value: tuple[float, str] | None = None


class _Result(Struct):
    result: list[Found]


class _Values(Struct):
    data: _Result
    warnings: list[str] = []


class _Series(Struct):
    data: list[dict[str, str]]
    warnings: list[str] = []


class _Error(Struct):
    error: str
    errorType: str = ""


Answer = TypeVar("Answer", _Values, _Series)


class Access(NamedTuple):
    """Where Prometheus is and how one gets in.

    Parameters
    ----------
    url : URL
        Its address, with the prefix before ``/api/v1``.
    headers : mapping
        Sent with each question: credentials, tenant.
    ca_file : Path or None
        Authorities that sign its certificate; the system's where none is given.
    timeout_s : float
        How long one answer may take.
    """

    url: URL
    headers: Mapping[str, str] = {}
    ca_file: Path | None = None
    timeout_s: float = 60.0

    @property
    def name(self) -> str:
        """The address, for messages."""
        return str(self.url)


class Prometheus:
    """A connection; ``warnings`` are those of all answers, each once."""

    def __init__(self, access: Access, *, sleep: Sleep = asyncio.sleep) -> None:
        self.warnings: dict[str, None] = {}
        self._access = access
        self._sleep = sleep
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Prometheus:
        """Open it."""
        access = self._access
        try:
            tls = ssl.create_default_context(cafile=access.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise Refused(
                f"{access.ca_file}: {error}: give a PEM file of certificates"
            ) from error
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=tls),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": "hypercare", **access.headers},
            timeout=aiohttp.ClientTimeout(
                total=access.timeout_s, sock_connect=CONNECT_S
            ),
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        if self._session is not None:
            await self._session.close()

    async def range(
        self, query: str, start_ms: int, end_ms: int, step_s: int
    ) -> list[Found]:
        """Values of an expression at each step, both ends included."""
        asked = {
            "query": query,
            "start": f"{start_ms / 1000:.3f}",
            "end": f"{end_ms / 1000:.3f}",
            "step": f"{step_s}s",
        }
        answer = await self._decoded("query_range", asked, _Values)
        return answer.data.result

    async def instant(self, query: str, at_ms: int) -> list[Found]:
        """Values of an expression at one time."""
        asked = {"query": query, "time": f"{at_ms / 1000:.3f}"}
        answer = await self._decoded("query", asked, _Values)
        return answer.data.result

    async def series(
        self, selector: str, start_ms: int, end_ms: int, limit: int
    ) -> list[dict[str, str]]:
        """Label sets that a selector matches in a range."""
        asked = {
            "match[]": selector,
            "start": f"{start_ms / 1000:.3f}",
            "end": f"{end_ms / 1000:.3f}",
            "limit": str(limit),
        }
        return (await self._decoded("series", asked, _Series)).data

    async def _decoded(
        self, path: str, asked: Mapping[str, str], kind: type[Answer]
    ) -> Answer:
        body = await self._answer(path, asked)
        try:
            found = msgspec.json.decode(body, type=kind)
        except msgspec.DecodeError as error:
            raise Refused(
                f"{self._access.name}: the answer is none of Prometheus: {error}: "
                "give its address, with the prefix before /api/v1, as in /prometheus"
            ) from error
        self.warnings.update(dict.fromkeys(found.warnings))
        return found

    async def _answer(self, path: str, asked: Mapping[str, str]) -> bytes:
        for number in range(TRIES):
            status, headers, body = await self._get(path, asked)
            if status == 200:
                return body
            if status not in BUSY or number == TRIES - 1:
                raise _refusal(self._access.name, status, headers, body)
            await self._sleep(_wait_s(headers, number))
        raise AssertionError("a try ends with an answer or an error")

    async def _get(
        self, path: str, asked: Mapping[str, str]
    ) -> tuple[int, Mapping[str, str], bytes]:
        assert self._session is not None
        url = self._access.url / "api" / "v1" / path
        try:
            async with self._session.get(
                url, params=asked, allow_redirects=False
            ) as answer:
                return answer.status, answer.headers, await _body(answer)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            words = str(error) or type(error).__name__
            raise Unreachable(
                f"{self._access.name} does not answer: {words[:SAID_CHARS]}: check the "
                "address, or give it longer with --timeout"
            ) from error


async def _body(answer: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for piece in answer.content.iter_any():
        body += piece
        if len(body) > ANSWER_BYTES_MAX:
            raise Refused(
                f"an answer is longer than {ANSWER_BYTES_MAX >> 20} MiB: narrow the "
                "selectors of the mapping"
            )
    return bytes(body)


def _wait_s(headers: Mapping[str, str], number: int) -> float:
    asked = headers.get("Retry-After", "")
    wait_s = float(asked) if asked.isascii() and asked.isdigit() else 2.0**number
    return min(WAIT_S_MAX, wait_s)


def _refusal(
    name: str, status: int, headers: Mapping[str, str], body: bytes
) -> Refused | Unreachable:
    try:
        error = msgspec.json.decode(body, type=_Error)
        said = f"{error.errorType} {error.error}".strip()
    except msgspec.DecodeError:
        said = body.decode("utf-8", "replace").strip()
    said = "".join(c if c.isprintable() else " " for c in said)[:SAID_CHARS]
    lead = f"{name} answered {status}: {said}".rstrip(": ")
    if 300 <= status < 400:
        host = URL(headers.get("Location", "")).host or "elsewhere"
        return Refused(
            f"{name} answered {status}, a redirect to {host}, which is not followed: "
            "give the address of Prometheus itself"
        )
    if status in (401, 403):
        return Refused(f"{lead}: give --bearer-file, --basic-file or --header")
    if status == 404:
        return Refused(f"{lead}: give the prefix before /api/v1, too")
    if status in (400, 405, 422):
        return Refused(f"{lead}: check the selectors of the mapping, or narrow them")
    return Unreachable(f"{lead}: try again later, or a shorter range")
