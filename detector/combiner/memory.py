"""Numbers seen lately, in pages by time of arrival.

A page is written in pieces that never change once they are full: a snapshot writes
what is new of a page, not the page.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

PAGE_MS = 60_000
PIECE = 8_192
"""Numbers of one piece: 64 KiB."""


class Memory:
    """Remembers numbers for a time, and at most so many.

    Parameters
    ----------
    name : str
        First part of the names of its pieces.
    kept_ms : int
        Numbers are known for this long, and for up to a page longer.
    most : int
        Beyond this many the oldest page is forgotten.

    Examples
    --------
    >>> seen = Memory("ids", kept_ms=60_000, most=100)
    >>> seen.add(7, 0), seen.add(7, 59_000)
    (True, False)
    >>> seen.forget(180_000)
    >>> seen.add(7, 180_000)
    True
    """

    def __init__(self, name: str, *, kept_ms: int, most: int) -> None:
        self.name = name
        self.forgotten_early = 0
        self._kept_ms = kept_ms
        self._most = most
        self._known: set[int] = set()
        self._pages: dict[int, list[int]] = {}
        self._written: dict[int, int] = {}
        self._gone: list[str] = []

    def __len__(self) -> int:
        return len(self._known)

    def __contains__(self, number: int) -> bool:
        return number in self._known

    def add(self, number: int, now_ms: int) -> bool:
        """Remember a number; whether it was not known yet."""
        if number in self._known:
            return False
        if len(self._known) >= self._most:
            self.forgotten_early += len(self._pages[min(self._pages)])
            self._drop(min(self._pages))
        self._known.add(number)
        self._pages.setdefault(now_ms // PAGE_MS, []).append(number)
        return True

    def forget(self, now_ms: int) -> None:
        """Forget what is older than it has to be known."""
        oldest = (now_ms - self._kept_ms) // PAGE_MS
        for page in [page for page in self._pages if page < oldest]:
            self._drop(page)

    def _drop(self, page: int) -> None:
        numbers = self._pages.pop(page)
        self._known.difference_update(numbers)
        written = self._written.pop(page, 0)
        self._gone += [self._piece(page, n) for n in range(_pieces(written))]

    def _piece(self, page: int, piece: int) -> str:
        return f"{self.name}/{page}/{piece}"

    def all_pieces(self) -> Iterator[tuple[str, bytes]]:
        """Every piece by name."""
        for page in sorted(self._pages):
            yield from self._pieces_from(page, 0)

    def dirty_pieces(self) -> Iterator[tuple[str, bytes | None]]:
        """Pieces that grew since ``mark_clean``; None for those that are gone."""
        for name in self._gone:
            yield name, None
        for page in sorted(self._pages):
            written = self._written.get(page, 0)
            if written < len(self._pages[page]):
                yield from self._pieces_from(page, written // PIECE)

    def _pieces_from(self, page: int, first: int) -> Iterator[tuple[str, bytes]]:
        numbers = self._pages[page]
        for piece in range(first, _pieces(len(numbers))):
            part = numbers[piece * PIECE : (piece + 1) * PIECE]
            yield self._piece(page, piece), np.array(part, dtype="<i8").tobytes()

    def mark_clean(self) -> None:
        """Take everything as written."""
        self._written = {page: len(found) for page, found in self._pages.items()}
        self._gone.clear()

    def take_pieces(self, blocks: Mapping[str, bytes]) -> None:
        """Remember what the pieces of a snapshot hold."""
        found = []
        for name, block in blocks.items():
            kind, _, place = name.partition("/")
            if kind == self.name:
                number, _, piece = place.partition("/")
                found.append((int(number), int(piece), block))
        for page, _, block in sorted(found):
            numbers = np.frombuffer(block, dtype="<i8").tolist()
            self._pages.setdefault(page, []).extend(numbers)
            self._known.update(numbers)
        self.mark_clean()


def _pieces(count: int) -> int:
    return -(-count // PIECE)
