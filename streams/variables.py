"""What a setting may be: parsers of the environment's texts, and what they refuse.

A parser returns the value or raises ``ValueError`` with what would be right.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Variable:
    """One variable: its name after the prefix, its parser, what it is for."""

    name: str
    parse: Callable[[str], object]
    help: str


def seconds(low: float, high: float) -> Callable[[str], object]:
    """Seconds between two limits."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            raise ValueError(f"must be a number of seconds from {low:g} to {high:g}")
        return value

    return parse


def integer(low: int, high: int) -> Callable[[str], object]:
    """A whole number between two limits."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", text) or not low <= int(text) <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return int(text)

    return parse


def bootstrap(text: str) -> object:
    """Bootstrap servers."""
    for server in text.split(","):
        host, colon, port = server.strip().rpartition(":")
        if not (host and colon and port.isdecimal() and 0 < int(port) < 65536):
            raise ValueError("must be host:port, several separated by commas")
    return ",".join(server.strip() for server in text.split(","))


def name(text: str) -> object:
    """A name that may stand in topics and groups."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", text):
        raise ValueError("must be 1 to 100 letters, digits, '.', '_' or '-'")
    return text


def file(text: str) -> object:
    """A file that is there."""
    if not Path(text).is_file():
        raise ValueError("there is no such file")
    return Path(text)


def files(text: str) -> object:
    """Files that are there, with commas."""
    return tuple(file(path.strip()) for path in text.split(","))


def host(text: str) -> object:
    """A host name or an address."""
    if not re.fullmatch(r"[A-Za-z0-9.:_-]{1,255}", text):
        raise ValueError("must be a host name or an IP address")
    return text


def hosts(text: str) -> object:
    """Several of them, with commas."""
    return tuple(str(host(name.strip())) for name in text.split(","))


def flag(text: str) -> object:
    """0 or 1."""
    if text not in ("0", "1"):
        raise ValueError("must be 0 or 1")
    return text == "1"
