"""Whether files have changed and come to rest: half a write is not read."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class Seen(NamedTuple):
    """How a file looked: a change of any of these is a change of the file."""

    inode: int
    size: int
    changed_ns: int


class FileWatch:
    """Watches files that are read as one.

    Parameters
    ----------
    *paths : Path
        The files.
    """

    def __init__(self, *paths: Path) -> None:
        self._paths = paths
        self._before = self._look()
        self._loaded: tuple[Seen | None, ...] | None = self._before

    def changed(self) -> bool:
        """Whether the files differ from what was last told, and are at rest.

        At rest they are when two looks in a row find the same. Call it about once a
        second.
        """
        seen = self._look()
        at_rest, self._before = seen == self._before, seen
        if seen == self._loaded or not at_rest:
            return False
        self._loaded = seen
        return True

    def stands(self) -> bool:
        """Whether the files still are what was last told: asked after reading them."""
        return self._look() == self._loaded

    def tell_again(self) -> None:
        """Let ``changed`` tell these files once more, changed or not.

        For what could not be read at all: leave that is given later changes nothing
        that a look sees.
        """
        self._loaded = None

    def _look(self) -> tuple[Seen | None, ...]:
        return tuple(_seen(path) for path in self._paths)


def _seen(path: Path) -> Seen | None:
    try:
        about = path.stat()
    except OSError:
        return None
    return Seen(about.st_ino, about.st_size, about.st_mtime_ns)
