"""Sections of a report as lines for a terminal."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterator, Sequence

from streams.report.page import Note, Picture, Section, Sheet

WIDTH_LEAST, WIDTH_MOST = 60, 120


def lines_of(
    title: str, sections: Sequence[Section], drawn: Sequence[str]
) -> Iterator[str]:
    """The page as lines; a picture is replaced by what was drawn of characters.

    Parameters
    ----------
    drawn : sequence of str
        The lines that stand for its pictures.
    """
    width = min(max(shutil.get_terminal_size().columns, WIDTH_LEAST), WIDTH_MOST)
    yield title
    for section in sections:
        yield ""
        yield section.title
        for part in section.parts:
            if isinstance(part, Note):
                yield from _wrapped(part.text, width)
            elif isinstance(part, Picture):
                yield from (f"  {line}" for line in drawn)
                yield from _wrapped(part.caption, width)
            else:
                yield from (f"  {line}" for line in aligned(part))


def aligned(sheet: Sheet) -> Iterator[str]:
    """A table with columns as wide as their widest cell."""
    rows = [[str(cell) for cell in row] for row in sheet.rows]
    if any(sheet.columns):
        rows.insert(0, [str(name) for name in sheet.columns])
    if sheet.caption:
        yield f"({sheet.caption})"
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()


def _wrapped(text: str, width: int) -> list[str]:
    # Commands to copy are not broken.
    return textwrap.wrap(
        text, width, initial_indent="  ", subsequent_indent="  ",
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
