"""A TCP proxy between workers and a broker that cuts, swallows and refuses.

The broker advertises the proxy's port on a listener of its own, so that clients come
back through the proxy; whoever administers the test uses the plain listener.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from enum import Enum
from typing import Any

LIMIT = 65_536


class Mode(Enum):
    """What the proxy does with bytes."""

    PASS = "pass"
    CUT = "cut"
    """Connections are closed, new ones too."""
    BLACK_HOLE = "black hole"
    """Connections stay, nothing goes through."""
    DEAF = "deaf"
    """Requests arrive, answers do not."""


class Proxy:
    """Forwards a port of this machine to another, in a thread of its own."""

    def __init__(self, port: int, target: int) -> None:
        self.port, self._target = port, target
        self._mode = Mode.PASS
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._open = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy")

    def __enter__(self) -> Proxy:
        self._thread.start()
        self._call(self._start())
        return self

    def __exit__(self, *_: object) -> None:
        self._call(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def be(self, mode: Mode) -> None:
        """Do this from now on."""
        self._call(self._be(mode))

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=20)

    async def _start(self) -> None:
        self._open.set()
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", self.port, limit=LIMIT
        )

    async def _stop(self) -> None:
        self._server.close()
        await self._be(Mode.CUT)
        tasks = [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _be(self, mode: Mode) -> None:
        self._mode = mode
        if mode is Mode.CUT:
            for writer in list(self._writers):
                writer.close()
        if mode in (Mode.PASS, Mode.CUT):
            self._open.set()
        else:
            self._open.clear()

    async def _serve(
        self, client: asyncio.StreamReader, answer: asyncio.StreamWriter
    ) -> None:
        if self._mode is Mode.CUT:
            answer.close()
            return
        try:
            server, request = await asyncio.open_connection(
                "127.0.0.1", self._target, limit=LIMIT
            )
        except OSError:
            answer.close()
            return
        self._writers |= {request, answer}
        await asyncio.gather(
            self._pump(client, request, is_request=True),
            self._pump(server, answer, is_request=False),
        )
        self._writers -= {request, answer}

    async def _pump(
        self,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        *,
        is_request: bool,
    ) -> None:
        try:
            while data := await source.read(LIMIT):
                while self._mode is Mode.BLACK_HOLE or (
                    self._mode is Mode.DEAF and not is_request
                ):
                    await self._open.wait()
                sink.write(data)
                await sink.drain()
        except OSError:
            pass
        finally:
            sink.close()
