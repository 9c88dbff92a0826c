"""The document of flags: read anew as its file or the executions change.

Requests are answered from memory, so that hundreds of evaluators that ask every five
seconds cost Kafka nothing. While a new file is wrong, or Kafka is away, the last good
document is served: to those who withdrew something it must not come back.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from acting.flagrules import problems_of
from acting.flags import (
    MARK,
    FlagsError,
    FlagsFile,
    encoded,
    flag_document,
    part_of,
    read_flags,
)
from acting.ledger import Ledger
from streams.errors import Refused, Unreachable
from streams.filewatch import FileWatch
from streams.gate.access import Bearer
from streams.gate.evaluating import Evaluator

logger = logging.getLogger(__name__)

REFRESH_S = 1.0
BYTES_MAX = 1_048_576

LedgerOf = Callable[[], Awaitable[Ledger]]


class Unread(FlagsError):
    """The file could not be read now, and may be later as it is."""


class Part(NamedTuple):
    """What somebody may see of the document: as it is, its bytes and their name."""

    document: dict[str, Any]
    body: bytes
    etag: str


class Served:
    """The document that is served now.

    Parameters
    ----------
    document : dict
        With all that is switched.
    body : bytes
        The same as it is sent.
    services : dict of str to str
        Whose flags are.

    Attributes
    ----------
    evaluator : Evaluator
        Evaluates its flags.
    """

    def __init__(
        self, document: dict[str, Any], body: bytes, services: dict[str, str]
    ) -> None:
        self.evaluator = Evaluator(document)
        self.whole = Part(document, body, etag_of(body))
        self._services = services
        self._parts: dict[tuple[str, ...], Part] = {}

    def is_made_of(self, body: bytes, services: dict[str, str]) -> bool:
        """Whether it was made of these parts."""
        return (self.whole.body, self._services) == (body, services)

    def part(self, bearer: Bearer) -> Part:
        """What somebody may see: all, or the flags of their services."""
        if not bearer.is_limited:
            return self.whole
        # As many as there are different lines in the token file.
        found = self._parts.get(bearer.services)
        if found is None:
            document = part_of(self.whole.document, partial(self._may, bearer))
            body = encoded(document)
            found = self._parts[bearer.services] = Part(document, body, etag_of(body))
        return found

    def _may(self, bearer: Bearer, name: str) -> bool:
        service = self._services.get(name)
        return service is not None and bearer.may(service)


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
    served : Served or None
        What is served; None until the executions were read once.
    problem : str
        Why what is served may be old; empty if it is not.
    is_current : bool
        Whether the file as it is now is in force.

    Raises
    ------
    Refused
        If the file can not be served.
    """

    def __init__(self, path: Path, ledger: LedgerOf) -> None:
        self._path, self._ledger = path, ledger
        self._watch = FileWatch(path)
        try:
            self._file = self._read()
        except FlagsError as error:
            raise Refused(str(error)) from error
        self._file_problem = ""
        self.served: Served | None = None
        self.problem = "the executions have not been read yet"

    @property
    def is_current(self) -> bool:
        """Whether the file as it is now is in force."""
        return not self._file_problem

    async def refresh(self) -> None:
        """Read what has changed; keeps what is served where that fails."""
        await asyncio.to_thread(self._poll)
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
        services = self._file.services
        if self.served is None or not self.served.is_made_of(body, services):
            self.served = await asyncio.to_thread(Served, document, body, services)
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

    async def kept(self, _: object) -> AsyncIterator[None]:
        """Refresh as long as a server runs, and once before it does."""
        await self.refresh()
        task = asyncio.create_task(self.keep(), name="flags")
        yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    def _poll(self) -> None:
        """Take a file that has changed and come to rest; one that is no good leaves the
        old one in force."""
        if not self._watch.changed():
            return
        try:
            fresh = self._read()
            if self._file.is_marked and not fresh.is_marked:
                raise FlagsError(
                    f"{self._path}: `{MARK}: true` is missing at the end: the file may "
                    "be cut off; a new file may do without it after a restart"
                )
            self._file = fresh
        except FlagsError as error:
            if isinstance(error, Unread):
                self._watch.tell_again()
            if str(error) != self._file_problem:
                logger.warning("flags.refused the old ones hold: %s", error)
            self._file_problem = str(error)
        else:
            self._file_problem = ""
            logger.info("flags.reloaded file=%s", self._path)

    def _read(self) -> FlagsFile:
        try:
            with self._path.open("rb") as file:
                sent = file.read(BYTES_MAX + 1)
            text = sent[:BYTES_MAX].decode()
        except OSError as error:
            raise Unread(f"{self._path}: can not be read: {error}") from error
        except UnicodeDecodeError as error:
            raise FlagsError(f"{self._path}: is not UTF-8: {error}") from error
        if len(sent) > BYTES_MAX:
            raise FlagsError(f"{self._path}: is larger than {BYTES_MAX} bytes")
        if not self._watch.stands():
            raise Unread(
                f"{self._path}: written while it was read: replace it as a whole (mv)"
            )
        found = read_flags(text, str(self._path))
        try:
            Evaluator(found.document)
        except FlagsError as error:
            raise FlagsError(f"{self._path}: {error}") from error
        return found


def etag_of(body: bytes) -> str:
    """A strong name of these bytes."""
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'
