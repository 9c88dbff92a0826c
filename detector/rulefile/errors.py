"""What is wrong with a rule file, where, and what to write instead.

Plain values and one exception. Nothing here knows YAML or the rules' model.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

PROBLEMS_MAX = 50
"""Enough to repair a file by; a hostile one must not fill memory with messages."""
SNIPPET_MAX = 100
LISTED_MAX = 8
"""Longer lists of valid names are not repeated beside a good guess."""
# The line breaks of YAML 1.1, so that line numbers agree with the parser's.
LINE_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")


class Place(NamedTuple):
    """Where in the text, counted from 1, and how many characters to mark."""

    line: int
    column: int
    width: int = 1


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in a rule file, as its author needs to see it.

    Attributes
    ----------
    source : str
        Name of the file as it was given to the loader.
    line, column : int
        Counted from 1.
    message : str
        What is wrong, led by the path of the key (``rules[2].alpha``).
    snippet : str
        The offending line with ``^^`` under the offending part; may be empty.
    hint : str
        The fix: nearest valid name, allowed values, or what to write.
    """

    source: str
    line: int
    column: int
    message: str
    snippet: str = ""
    hint: str = ""

    def __str__(self) -> str:
        """Give place and message, the marked line, and the hint, one each line."""
        lines = [f"{self.source}:{self.line}:{self.column}: {self.message}"]
        if self.snippet:
            lines += [f"    {line}" for line in self.snippet.split("\n")]
        if self.hint:
            lines.append(f"    hint: {self.hint}")
        return "\n".join(lines)


class RuleFileError(Exception):
    """A rule file that can not be put in force; it carries every problem found."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(problems)
        super().__init__(self.problems)

    def __str__(self) -> str:
        """Print all problems, one block each."""
        return "\n".join(str(problem) for problem in self.problems)


class Report:
    """Collect the problems of one text, so that all are told at once."""

    def __init__(self, source: str, text: str) -> None:
        self._source = source
        self._lines = LINE_BREAK.split(text)
        self._problems: list[Problem] = []

    @property
    def full(self) -> bool:
        """Whether further problems would not be kept."""
        return len(self._problems) >= PROBLEMS_MAX

    @property
    def problems(self) -> list[Problem]:
        """The problems in the order of the text."""
        return sorted(self._problems, key=lambda found: (found.line, found.column))

    @property
    def end(self) -> Place:
        """The last line that holds anything: where a cut-off file ends."""
        numbered = [n for n, line in enumerate(self._lines, start=1) if line.strip()]
        line = numbered[-1] if numbered else 1
        return Place(line, 1, len(self._lines[line - 1]))

    def add(self, place: Place, message: str, hint: str = "") -> None:
        """Note one problem, with the line it is in."""
        if not self.full:
            said = (_printable(message), self._snippet(place), _printable(hint))
            found = Problem(self._source, place.line, place.column, *said)
            self._problems.append(found)

    def raise_if_any(self) -> None:
        """Raise ``RuleFileError`` if at least one problem was noted."""
        if self._problems:
            raise RuleFileError(self.problems)

    def _snippet(self, place: Place) -> str:
        if place.line > len(self._lines):
            return ""
        line = _printable(self._lines[place.line - 1])
        if not line.strip():
            return ""
        start = max(0, place.column - 1 - SNIPPET_MAX // 2)
        shown = line[start : start + SNIPPET_MAX]
        offset = place.column - 1 - start
        width = max(1, min(place.width, len(shown) - offset))
        return f"{shown}\n{' ' * offset}{'^' * width}"


def _printable(text: str) -> str:
    """Keep control characters and lone surrogates away from terminals and logs."""
    return "".join(c if c.isprintable() else " " for c in text)


def nearest(word: str, valid: Sequence[str]) -> str:
    """Say which valid name was probably meant, or which names there are.

    Examples
    --------
    >>> nearest("alfa", ["alpha", "grace_s"])
    'did you mean alpha? valid: alpha, grace_s'
    >>> nearest("zzz", ["alpha", "grace_s"])
    'valid: alpha, grace_s'
    """
    listed = f"valid: {', '.join(valid)}"
    close = difflib.get_close_matches(word[:64].lower(), valid, n=1, cutoff=0.5)
    if not close:
        return listed
    meant = f"did you mean {close[0]}?"
    return meant if len(valid) > LISTED_MAX else f"{meant} {listed}"
