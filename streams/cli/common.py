"""Options and helpers that several commands share."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from detector.rulefile import RuleSet, load_rules
from streams.errors import Refused
from streams.rulesdata import DEFAULT_RULES, default_rules_text
from streams.settings import Settings

json_option = click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")

rules_option = click.option(
    "--rules",
    "rules_file",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="HYPERCARE_RULES",
    help="Rule file [default: the shipped rules].",
)


def settings() -> Settings:
    """The settings of this environment."""
    return Settings.from_environment(os.environ)


def read_rules(path: Path | None) -> RuleSet:
    """The rule set of a file, or the shipped one."""
    if path is None:
        return load_rules(default_rules_text(), source=DEFAULT_RULES)
    return load_rules(read_text(path), source=str(path))


def read_text(path: Path) -> str:
    """Text of a file, with an error that names it."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"{path}: {error}: give a readable UTF-8 file") from error


def lines_of(source: Path) -> Iterator[bytes]:
    """Lines of a file, or of standard input for ``-``, as they come."""
    if str(source) == "-":
        yield from sys.stdin.buffer
        return
    try:
        with source.open("rb") as file:
            yield from file
    except OSError as error:
        raise Refused(f"{source}: {error}: give a readable file or -") from error


class Progress:
    """A line on standard error that is rewritten on a terminal, silent elsewhere."""

    def __init__(self, unit: str, every: int = 1000) -> None:
        self._unit = unit
        self._every = every
        self._shown = sys.stderr.isatty()
        self.count = 0

    def step(self, number: int = 1) -> None:
        """Count, and show the count now and then."""
        before = self.count // self._every
        self.count += number
        if self._shown and self.count // self._every > before:
            click.echo(f"\r{self.count:,} {self._unit}", err=True, nl=False)

    def done(self) -> None:
        """End the line."""
        if self._shown and self.count >= self._every:
            click.echo(f"\r{self.count:,} {self._unit}", err=True)
