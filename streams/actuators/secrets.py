"""Secrets of receivers: from a file or a variable, shown nowhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detector.rulefile.errors import Report
from detector.rulefile.kinds import INVALID, Kind, Schema, Text, refuse
from detector.rulefile.yamltree import Entries, Node

SECRET_BYTES_MAX = 16_384


class Lost(Exception):
    """A secret that was there is there no more; the text says where it should be."""


@dataclass(frozen=True, slots=True)
class Secret:
    """A text that neither ``repr`` nor ``str`` shows.

    One that stands in a file is read again whenever it is used: tokens that live for
    minutes are written there by somebody else.
    """

    origin: str
    _text: str
    _path: Path | None = None

    def __repr__(self) -> str:
        return f"<secret from {self.origin}>"

    __str__ = __repr__

    def reveal(self) -> str:
        """The text itself, for the one place that sends it.

        Raises
        ------
        Lost
            If its file can not be used now.
        """
        if self._path is None:
            return self._text
        text, problem = _content(self._path)
        if text is None or not _is_usable(text.strip()):
            raise Lost(f"{self!r}: {problem or 'not one line of text'}")
        return text.strip()


def _is_usable(text: str) -> bool:
    return bool(text) and text.isascii() and text.isprintable()


class SecretKind(Kind):
    """`{file: PATH}` or `{env: NAME}`, read at once.

    Parameters
    ----------
    environment : mapping
        Variables of this process.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def read(self, node: Node, path: str, report: Report) -> Any:
        """The secret, or `INVALID` with the reason reported."""
        if not isinstance(node, Entries) or len(node.entries) != 1:
            return refuse(node, path, report, self.words())
        ((at, value),) = node.entries
        name = Text(1_024).read(value, f"{path}.{at.raw}", report)
        if name is INVALID:
            return INVALID
        if at.raw == "env":
            found, what = self._environment.get(name), f"variable {name} is not set"
        elif at.raw == "file":
            found, what = _content(Path(name))
        else:
            report.add(at.place, f"{path}.{at.raw}: unknown key", "valid: file, env")
            return INVALID
        text = (found or "").strip()
        if not text:
            report.add(
                value.place, f"{path}: {what or 'the file is empty'}", "put it there"
            )
            return INVALID
        if not _is_usable(text):
            hint = "one line of printable ASCII"
            report.add(value.place, f"{path}: not one line of text", hint)
            return INVALID
        return Secret(
            f"{at.raw} {name}", text, Path(name) if at.raw == "file" else None
        )

    def schema(self) -> Schema:
        """A mapping with one key."""
        return {"type": "object", "minProperties": 1, "maxProperties": 1}

    def words(self) -> str:
        """What to write."""
        return "{file: PATH} or {env: NAME}, never the secret itself,"


def _content(path: Path) -> tuple[str | None, str]:
    try:
        with path.open("rb") as file:
            return file.read(SECRET_BYTES_MAX).decode(), ""
    except (OSError, UnicodeDecodeError) as error:
        return None, f"{path} can not be read: {error}"
