"""The document of flags over HTTP: read anew as its file or the executions change.

Requests are answered from memory, so that hundreds of evaluators that ask every five
seconds cost Kafka nothing. While a new file is wrong, or Kafka is away, the last good
document is served: to those who withdrew something it must not come back.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from aiohttp import web

from acting.flagrules import problems_of
from acting.flags import FlagsError, FlagsFile, encoded, flag_document, read_flags
from acting.ledger import Ledger
from acting.ofrep import Reply, bad_context, evaluate, evaluate_all
from streams.errors import Refused, Unreachable
from streams.gate.bodies import Problem

logger = logging.getLogger(__name__)

REFRESH_S = 1.0
BYTES_MAX = 1_048_576

Stamp = tuple[int, int, int]
LedgerOf = Callable[[], Awaitable[Ledger]]


class Served(NamedTuple):
    """A document, its bytes and their name."""

    document: dict[str, Any]
    body: bytes
    etag: str


class FlagDesk:
    """Keeps the document of flags up to date.

    Parameters
    ----------
    path : Path
        The file of flags.
    ledger : callable
        Gives all claims and orders up to now.

    Attributes
    ----------
    problem : str
        Why what is served may be old; empty if it is not.

    Raises
    ------
    Refused
        If the file can not be served.
    """

    def __init__(self, path: Path, ledger: LedgerOf) -> None:
        self._path, self._ledger = path, ledger
        self._stamp = self._stamped()
        try:
            self._file = self._read()
        except FlagsError as error:
            raise Refused(str(error)) from error
        self._file_problem = ""
        self.served: Served | None = None
        self.problem = "the executions have not been read yet"

    async def refresh(self) -> None:
        """Read what has changed; keeps what is served where that fails."""
        await asyncio.to_thread(self._read_again)
        try:
            switched = (await self._ledger()).known.switched
        except Unreachable as error:
            self.problem = str(error)
            return
        document = flag_document(self._file, switched)
        wrong = problems_of(document)
        if wrong:
            self.problem = "; ".join(wrong)
            return
        body = encoded(document)
        if self.served is None or self.served.body != body:
            self.served = served_as(document, body)
        self.problem = self._file_problem

    async def keep(self) -> None:
        """Refresh until cancelled; a defect is shown, and tried again."""
        while True:
            try:
                await self.refresh()
            except Exception as error:
                self.problem = f"the flags can not be read: {error!r}"
                logger.exception("flags.failed")
            await asyncio.sleep(REFRESH_S)

    def _read_again(self) -> None:
        try:
            stamp = self._stamped()
            if stamp == self._stamp and not self._file_problem:
                return
            self._stamp, self._file = stamp, self._read()
        except (FlagsError, Refused) as error:
            if str(error) != self._file_problem:
                logger.warning("flags.refused: %s", error)
            self._file_problem = str(error)
        else:
            self._file_problem = ""

    def _stamped(self) -> Stamp:
        try:
            found = os.stat(self._path)
        except OSError as error:
            raise Refused(f"{self._path}: can not be read: {error}") from error
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _read(self) -> FlagsFile:
        try:
            with self._path.open("rb") as file:
                text = file.read(BYTES_MAX + 1).decode()
        except (OSError, UnicodeDecodeError) as error:
            raise FlagsError(f"{self._path}: can not be read: {error}") from error
        return read_flags(text, str(self._path))


def served_as(document: dict[str, Any], body: bytes) -> Served:
    """A document with a strong name of its bytes."""
    return Served(document, body, f'"{hashlib.sha256(body).hexdigest()[:32]}"')


def add_flags(
    app: web.Application,
    desk: FlagDesk | None,
    admit: Callable[[web.Request], object],
) -> None:
    """Serve the document and what it says of single flags; nothing without a file.

    ``admit`` raises unless a request may read.
    """
    if desk is None:
        return

    async def whole(request: web.Request) -> web.Response:
        admit(request)
        found = _found(desk)
        if _is_known(request, found.etag):
            return web.Response(status=304, headers={"ETag": found.etag})
        return _answer(found.body, 200, found.etag)

    async def one(request: web.Request) -> web.Response:
        admit(request)
        key, document = request.match_info["key"], _found(desk).document
        wrong = await _wrong(request, key)
        reply = wrong or evaluate(document, key)
        return _answer(encoded(reply.body), reply.status)

    async def every(request: web.Request) -> web.Response:
        admit(request)
        document = _found(desk).document
        wrong = await _wrong(request, None)
        if wrong is not None:
            return _answer(encoded(wrong.body), wrong.status)
        reply = evaluate_all(document)
        found = served_as(reply.body, encoded(reply.body))
        if _is_known(request, found.etag):
            return web.Response(status=304, headers={"ETag": found.etag})
        return _answer(found.body, 200, found.etag)

    async def kept(_: web.Application) -> AsyncIterator[None]:
        await desk.refresh()
        task = asyncio.create_task(desk.keep())
        yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    app.router.add_get("/v1/flags.json", whole)
    app.router.add_post("/ofrep/v1/evaluate/flags", every)
    app.router.add_post("/ofrep/v1/evaluate/flags/{key}", one)
    app.cleanup_ctx.append(kept)


def _found(desk: FlagDesk) -> Served:
    if desk.served is None:
        raise Problem(503, desk.problem)
    return desk.served


def _is_known(request: web.Request, etag: str) -> bool:
    """Whether the client has these bytes already."""
    told = request.headers.get("If-None-Match", "")
    names = [one.strip().removeprefix("W/") for one in told.split(",")]
    return etag in names or told.strip() == "*"


async def _wrong(request: web.Request, key: str | None) -> Reply | None:
    """What is wrong with the body of an evaluation."""
    try:
        body = json.loads(await request.read() or b"{}")
    except (ValueError, RecursionError) as error:
        return bad_context(key, f"the body is no JSON: {error}")
    if not isinstance(body, dict) or not isinstance(body.get("context", {}), dict):
        return bad_context(key, "`context` must be an object")
    return None


def _answer(body: bytes, status: int, etag: str | None = None) -> web.Response:
    headers = {} if etag is None else {"ETag": etag}
    return web.Response(
        body=body, status=status, content_type="application/json", headers=headers
    )
