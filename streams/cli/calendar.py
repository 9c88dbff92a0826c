"""``hypercare calendar set | show | clear``: times in which nothing is executed."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import msgspec
import yaml

from acting.calendars import Window, frozen_until
from acting.records import EVERY, WINDOWS_MAX, Calendar
from streams.cli.common import read_text
from streams.cli.executions import opened
from streams.cli.exits import explained
from streams.cli.gate import who
from streams.errors import Refused
from streams.wallclock import now_ms

FILE_CHARS_MAX = 64 * 1024


@click.group()
def calendar() -> None:
    """Say beforehand when nothing is executed (RFC 5545, with a time zone)."""


@calendar.command("set")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--service", default=EVERY, help="A service [default: every one].")
@click.option("--actor", help="Who says it [default: user@host].")
@click.option("--why", required=True, help="The reason, for whoever reads it later.")
@explained
def set_(file: Path, service: str, actor: str | None, why: str) -> None:
    """Replace the calendar of a service, or of all, by the windows in FILE (YAML)."""
    windows = read_windows(file)
    _append(Calendar(actor or who(), why, service, windows))
    for window in windows:
        click.echo(f"{service}: {_line(window)}")


@calendar.command()
@click.option("--service", default=EVERY, help="A service [default: every one].")
@click.option("--actor", help="Who says it [default: user@host].")
@click.option("--why", required=True, help="The reason, for whoever reads it later.")
@explained
def clear(service: str, actor: str | None, why: str) -> None:
    """Take the calendar of a service, or of all, back."""
    _append(Calendar(actor or who(), why, service))
    click.echo(f"{service}: no calendar any more")


@calendar.command()
@explained
def show() -> None:
    """Print all windows, who set them, and which of them last now."""
    with closing(opened()) as executions:
        known = executions.ledger.known.calendars
    for service, found in sorted(known.items()):
        for window in found.windows:
            click.echo(f"{service}: {_line(window)}, set by {found.actor}: {found.why}")


def read_windows(file: Path) -> tuple[Window, ...]:
    """The windows of a file: ``windows``, a list of them.

    Raises
    ------
    Refused
        If one of them could not be followed.
    """
    text = read_text(file)
    if len(text) > FILE_CHARS_MAX or "&" in text:
        raise Refused(f"{file}: longer than 64 kB, or with anchors (&)")
    try:
        # Texts only: a time is said as people say it, not as YAML would have it.
        whole: Any = yaml.load(text, Loader=yaml.BaseLoader)  # noqa: S506
        found = msgspec.convert(whole, type=dict[str, tuple[Window, ...]])
    except (yaml.YAMLError, msgspec.ValidationError, RecursionError) as error:
        raise Refused(f"{file}: {error}: see docs/gate.md for an example") from error
    windows = found.get("windows", ())
    if set(found) != {"windows"} or not 1 <= len(windows) <= WINDOWS_MAX:
        raise Refused(f"{file}: has `windows`, 1 to {WINDOWS_MAX} of them, and no more")
    return windows


def _append(made: Calendar) -> None:
    with closing(opened()) as executions:
        executions.append(made)


def _line(window: Window) -> str:
    until_ms = frozen_until(window, now_ms())
    now = ""
    if until_ms is not None:
        end = datetime.fromtimestamp(until_ms / 1000, UTC)
        now = f", now until {end:%Y-%m-%d %H:%MZ}"
    return (
        f"{window.name}: {window.rrule} from {window.start} for {window.duration}, "
        f"{window.timezone}{now}"
    )
