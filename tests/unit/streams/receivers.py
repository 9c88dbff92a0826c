"""Receivers of every bad kind, on real sockets, and recommendations to send them."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from ipaddress import ip_network
from typing import Any

import msgspec

from detector.verdicts import (
    Action,
    ReasonCode,
    RecommendationRecord,
    RecommendationState,
    recommendation_id,
)
from streams.actuators.config import load
from streams.actuators.parcel import Parcel, parcel_of
from streams.actuators.receiver import Receiver
from streams.gate.reading import Signed

START_MS = 1_795_356_000_000
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_" + "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE="
LOOPBACK = ip_network("127.0.0.0/8")
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"

Behave = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def recommendation(**changes: Any) -> RecommendationRecord:
    """A recommendation to roll back; its id fits what it says."""
    found = {
        "revision": 1,
        "action": Action.ROLLBACK,
        "state": RecommendationState.OPEN,
        "service": "shop",
        "environment": "production",
        "release": "2.4.0",
        "component": None,
        "target": "2.3.1",
        "mode": "auto",
        "decided_at": START_MS,
        "issued_at": START_MS,
        "expires_at": START_MS + 600_000,
        "episode_start_ms": START_MS - 60_000,
        "segment": {"os": "android"},
        "log_e": 20.5,
        "rate_ratio": (1.5, 2.0, 3.0),
        "expected_effect": "spares 40 users a minute",
        "sentence": "sessions fail twice as often",
        "reasons": (ReasonCode.ERROR_RATE_UP,),
        "evidence_offset": 7,
        "rule": "default",
        "rules_hash": "abc",
    } | changes
    facts = ("service", "environment", "release", "component", "episode_start_ms")
    name = recommendation_id(*(found[one] for one in facts))
    return RecommendationRecord(id=name, **found)


def signed(record: RecommendationRecord, signature: str = "v1,x,y") -> Signed:
    """A recommendation as it stands in its topic."""
    value = msgspec.json.encode(record)
    return Signed("t.recommendations", record.id, value, signature, record)


def parcel(**changes: Any) -> Parcel:
    """A new delivery of a recommendation."""
    return parcel_of("one", signed(recommendation(**changes)), START_MS)


def receiver(text: str) -> Receiver:
    """The one receiver of a file with this entry."""
    lines = "\n".join(f"    {line}" for line in text.strip().splitlines())
    whole = f"version: 1\nreceivers:\n  -\n{lines}\nend_of_receivers: true\n"
    (found,) = load(
        whole, source="r.yaml", environment={"SECRET": SECRET, "OTHER": OTHER}
    )
    return found


def webhook(url: str, timeout_s: int = 2) -> Receiver:
    """A receiver that is told on this machine."""
    return receiver(
        f"name: one\nkind: webhook\nallow: [127.0.0.0/8]\ntimeout_s: {timeout_s}\n"
        f"webhook: {{url: '{url}', secrets: [{{env: SECRET}}]}}"
    )


class Server:
    """A server that behaves as it is told; remembers what it was sent."""

    def __init__(self, behave: Behave) -> None:
        self.heard: list[tuple[bytes, bytes]] = []
        self._behave = behave
        self.port = 0

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}/in"

    async def __call__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Read a request, then behave."""
        try:
            await self._answer(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()
            # Who does not read what is left must not keep us.
            with suppress(OSError, ssl.SSLError, TimeoutError):
                async with asyncio.timeout(0.5):
                    await writer.wait_closed()
            writer.transport.abort()

    async def _answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = 0
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        self.heard.append((head, await reader.readexactly(length)))
        await self._behave(reader, writer)


@asynccontextmanager
async def serving(
    behave: Behave, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Server]:
    """A server until the block ends; those it keeps waiting are let go."""
    made = Server(behave)
    tasks: set[asyncio.Task[None]] = set()

    async def handle(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with suppress(asyncio.CancelledError):
            await made(reader, writer)

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def says(answer: bytes) -> Behave:
    """Gives always the same answer."""

    async def behave(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()

    return behave


def status(line: str, *headers: str, body: bytes = b"") -> Behave:
    """Answers with a status."""
    lines = [f"HTTP/1.1 {line}", *headers, f"Content-Length: {len(body)}", "", ""]
    return says("\r\n".join(lines).encode() + body)


async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    """Never answers."""
    await reader.read()


async def dripping(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers a byte a second."""
    for byte in OK:
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(1)


async def flooding(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers 200 with ten megabytes."""
    size = 10 * 1024 * 1024
    writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode())
    for _ in range(160):
        writer.write(bytes(65_536))
        await writer.drain()


async def slamming(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Takes the request and hangs up."""
    writer.close()
