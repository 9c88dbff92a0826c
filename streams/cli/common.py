"""Options and helpers that several commands share."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import click

from detector.rulefile import RuleSet, load_rules
from streams.errors import Refused
from streams.rulesdata import DEFAULT_RULES, default_rules_text
from streams.settings import Settings

Command = TypeVar("Command", bound=Callable[..., object])

json_option = click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")

rules_option = click.option(
    "--rules",
    "rules_file",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="HYPERCARE_RULES",
    help="Rule file [default: the shipped rules].",
)

audit_option = click.option(
    "--audit",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File of `record --audit` [default: the audit topic].",
)

history_option = click.option(
    "--history",
    "histories",
    type=click.Path(path_type=Path, dir_okay=False),
    multiple=True,
    help="Recording of the log, may be repeated [default: the log's topic].",
)


def candidate_option(
    flag: str, default: str | None = None
) -> Callable[[Command], Command]:
    """An option that takes the name of a candidate rule set."""
    return click.option(
        flag,
        default=default,
        show_default=default is not None,
        callback=_candidate,
        help="Name of a candidate rule set, in its topics, group and metrics.",
    )


def _candidate(_: click.Context, __: click.Parameter, name: str | None) -> str | None:
    # A dot would make two names out of one: the topics are `shadow.NAME.verdicts`.
    if name is not None and not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,39}", name):
        raise click.BadParameter(
            f"{name!r}: give 1 to 40 small letters, digits or '-', no '-' first"
        )
    return name


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


def write_text(path: Path, text: str) -> None:
    """Write a file, with an error that names it."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise Refused(f"{path}: {error}: name a file that can be written") from error


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
