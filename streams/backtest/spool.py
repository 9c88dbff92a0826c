"""A history on disk, a file for each service: it may be larger than memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from detector.backtest.courses import without_rulesets
from detector.backtest.labels import SaidLabel, said_labels
from detector.backtest.sharing import shared_lines
from streams.errors import Refused

HELD_BYTES = 32 << 20
"""Held back before it is written: a file is opened once for many lines."""


@dataclass
class Spooled:
    """A history by service.

    ``rulesets`` counts lines with rule sets that were left out; ``said`` are the labels
    that people gave, in their order.
    """

    files: dict[str, Path] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    lines: int = 0
    rulesets: int = 0
    said: list[SaidLabel] = field(default_factory=list)


def spool(lines: Iterable[bytes], folder: Path, *, as_recorded: bool) -> Spooled:
    """Write a history to files by service.

    Raises
    ------
    Refused
        The folder can not be written to, or nothing is in the history.
    """
    made = Spooled()
    held: dict[str, list[bytes]] = {}
    size = 0
    for service, line in shared_lines(_kept(lines, made, as_recorded)):
        held.setdefault(service, []).append(line)
        size += len(line)
        if size >= HELD_BYTES:
            _write(held, made, folder)
            size = 0
    _write(held, made, folder)
    if not made.files:
        raise Refused(
            "the history is empty: give a file of `hypercare record`, or lines of "
            "docs/events.md with their service"
        )
    return made


def _kept(lines: Iterable[bytes], made: Spooled, as_recorded: bool) -> Iterator[bytes]:
    for line in lines:
        if not line.strip():
            continue
        made.lines += 1
        made.said += said_labels(line)
        if as_recorded or b'"ruleset"' not in line:
            yield line
            continue
        kept = list(without_rulesets([line]))
        made.rulesets += kept != [line.strip()]
        yield from kept


def _write(held: dict[str, list[bytes]], made: Spooled, folder: Path) -> None:
    try:
        for service, lines in held.items():
            path = made.files.setdefault(service, folder / f"{len(made.files)}.jsonl")
            with path.open("ab") as file:
                file.writelines(line + b"\n" for line in lines)
            size = sum(map(len, lines)) + len(lines)
            made.sizes[service] = made.sizes.get(service, 0) + size
    except OSError as error:
        raise Refused(
            f"{folder}: {error}: the history needs as much room there; "
            "name another folder with TMPDIR"
        ) from error
    held.clear()
