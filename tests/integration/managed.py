"""A broker as managed offers are: it refuses settings of topics it does not allow."""

from __future__ import annotations

import asyncio
import struct
import threading
from collections.abc import Collection
from contextlib import suppress
from typing import Any

from kafka.protocol.admin import CreateTopicsRequest, CreateTopicsResponse

CREATE_TOPICS = 19
FLEXIBLE_SINCE = 5
"""Version from which an answer's header ends with its (no) tagged fields."""

INVALID_CONFIG, POLICY_VIOLATION = 40, 44


class ManagedProxy:
    """Passes everything on but the creation of topics with refused settings.

    Parameters
    ----------
    port : int
        Where it listens, on loopback.
    target : int
        Port of the real broker, which advertises ``port``.
    refused : collection of str
        Beginnings of the settings it refuses.
    code : int
        Error it answers with.
    """

    def __init__(
        self, port: int, target: int, refused: Collection[str], code: int
    ) -> None:
        self.refused = tuple(refused)
        self.code = code
        self.refusals: list[str] = []
        self._port, self._target = port, target
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> ManagedProxy:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *exc: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        start = asyncio.start_server(self._serve, "127.0.0.1", self._port)
        server = self._loop.run_until_complete(start)
        self._ready.set()
        self._loop.run_forever()
        server.close()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        there, away = await asyncio.open_connection("127.0.0.1", self._target)
        back = asyncio.create_task(_copy(there, writer))
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                while True:
                    size = await reader.readexactly(4)
                    frame = await reader.readexactly(*struct.unpack(">i", size))
                    if (answer := self._refusal(frame)) is not None:
                        writer.write(answer)
                    else:
                        away.write(size + frame)
        finally:
            back.cancel()
            away.close()
            writer.close()

    def _refusal(self, frame: bytes) -> bytes | None:
        """The refusal of a request, None for one that passes."""
        key, version = struct.unpack_from(">hh", frame)
        if key != CREATE_TOPICS:
            return None
        request: Any = CreateTopicsRequest.decode(frame, version=version, header=True)
        rows = []
        for topic in request.topics:
            bad = [c.name for c in topic.configs if c.name.startswith(self.refused)]
            self.refusals += bad
            row = CreateTopicsResponse.CreatableTopicResult(
                name=topic.name,
                error_code=self.code if bad else 0,
                error_message=f"not allowed: {', '.join(bad)}" if bad else None,
            )
            rows.append(row)
        if not any(row.error_code for row in rows):
            return None
        answer: Any = CreateTopicsResponse(throttle_time_ms=0, topics=rows)
        head = struct.pack(">i", request.header.correlation_id)
        if version >= FLEXIBLE_SINCE:
            head += b"\0"
        body = head + bytes(answer.encode(version=version))
        return struct.pack(">i", len(body)) + body


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()
