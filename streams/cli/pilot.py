"""``hypercare pilot``: what rules would have done, and whether they may do it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import reduce
from pathlib import Path

import click

from detector.backtest.goahead import Decision, Limits
from detector.backtest.pilot import Pilot, compare
from streams.cli.common import candidate_option, json_option, settings
from streams.cli.exits import Exit, explained
from streams.errors import Refused

_file = click.Path(path_type=Path, dir_okay=False)
DEFAULTS = Limits()


def _limits(command: Callable[..., None]) -> Callable[..., None]:
    """Add an option for each limit."""
    percent = click.FloatRange(0, 1)
    options: Iterable[tuple[str, click.ParamType, str]] = (
        ("false-per-100", click.FloatRange(0, 100, min_open=True), "false rollbacks"),
        ("confidence", click.FloatRange(0.5, 0.9999), "of that bound, one-sided"),
        ("days", click.FloatRange(min=0), "shortest period"),
        ("harmful", click.IntRange(min=0), "least number of harmful releases seen"),
        ("caught", percent, "least share of those taken back"),
        ("later-s", click.FloatRange(min=0), "how much later than live, median"),
        ("covered", percent, "least share of live's releases judged"),
    )
    made = (
        click.option(
            f"--{name}",
            type=kind,
            default=getattr(DEFAULTS, name.replace("-", "_")),
            show_default=True,
            help=f"Limit: {text}.",
        )
        for name, kind, text in options
    )
    return reduce(lambda done, option: option(done), reversed(list(made)), command)


@click.command()
@candidate_option("--name")
@click.option("--live", "live_file", type=_file, help="What live said, not its topics.")
@click.option("--shadow", "shadow_file", type=_file, help="What the candidate said.")
@click.option("--history", type=_file, help="Recording with deploys and labels.")
@click.option("--labels", "labels_file", type=_file, help="CSV of labelled releases.")
@click.option(
    "--since",
    type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%SZ"]),
    help="Leave out releases begun before, UTC.",
)
@click.option("--html", "html_file", type=_file, help="Write the page as HTML, too.")
@_limits
@json_option
@explained
def pilot(
    name: str | None,
    live_file: Path | None,
    shadow_file: Path | None,
    history: Path | None,
    labels_file: Path | None,
    since: datetime | None,
    html_file: Path | None,
    as_json: bool,
    **limits: float,
) -> None:
    """Say what rules would have done, beside what was: go, no-go or too early.

    With --name: the candidate of a running `hypercare shadow`, from its topics. With
    neither --name nor --shadow: the live rules themselves, before machines act on
    them. Files hold lines of `hypercare replay` or of topics. Exit code 0: go; 3:
    no-go or too early.
    """
    from streams.pilotpage import Page, to_json, to_lines, to_sections

    since_ms = int(since.replace(tzinfo=UTC).timestamp() * 1000) if since else 0
    compared = _compared(name, (live_file, shadow_file), history, labels_file, since_ms)
    tried = name or (str(shadow_file) if shadow_file else None)
    page = Page.of(compared, tried, Limits(**limits))  # type: ignore[arg-type]
    if html_file is not None:
        from streams.report import render

        text = render(page.title, to_sections(page), made_by="hypercare pilot")
        try:
            html_file.write_text(text, encoding="utf-8")
        except OSError as error:
            raise Refused(f"{html_file}: {error}: name a file in a folder") from error
    for line in [json.dumps(to_json(page))] if as_json else to_lines(page):
        click.echo(line)
    raise SystemExit(Exit.DONE if page.decision is Decision.GO else Exit.FOUND)


def _compared(
    name: str | None,
    files: tuple[Path | None, Path | None],
    history: Path | None,
    labels_file: Path | None,
    since_ms: int,
) -> Pilot:
    from streams import pilotsources as sources

    live_file, shadow_file = files
    if name is not None and (live_file or shadow_file):
        raise Refused("--name reads topics: leave it out, or leave the files out")
    if shadow_file is not None and live_file is None:
        raise Refused("--shadow is compared with something: give --live FILE, too")
    labels = sources.labels_in(labels_file) if labels_file else []
    ended = sources.heard_in(history) if history else None
    executed: set[str] = set()
    if live_file is not None:
        live = sources.heard_in(live_file)
        tried = sources.heard_in(shadow_file) if shadow_file else None
    else:
        conf = settings()
        live = sources.heard_live(conf)
        tried = sources.heard_shadow(conf, name) if name is not None else None
        executed = sources.executed_in(conf)
    return compare(
        *(live, tried), labels=labels, ended=ended, executed=executed, since_ms=since_ms
    )
