"""``hypercare import``: recorded history from elsewhere, as lines that others read."""

from __future__ import annotations

import asyncio
import base64
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

import click
from yarl import URL

from streams.cli.common import Progress, read_text
from streams.cli.exits import explained
from streams.cli.times import epoch_ms_of, seconds_of
from streams.errors import Refused
from streams.prometheus.client import Access, Prometheus
from streams.prometheus.importing import (
    STEP_S_LEAST,
    Import,
    Span,
    on_grid,
    scrape_interval_s,
)
from streams.prometheus.mapping import MetricMap, read_mapping
from streams.prometheus.telling import summary
from streams.wallclock import now_ms

PATH = click.Path(path_type=Path, dir_okay=False)
STEP_S_MAX = 3600
HEADER = re.compile(r"([A-Za-z0-9-]+):[ \t]*([\x20-\x7e]+)")
LOOPBACK = ("localhost", "127.0.0.1", "::1")


@click.group("import")
def import_() -> None:
    """Make recorded history of what other systems remember."""


@import_.command()
@click.argument("url")
@click.option("--map", "map_file", type=PATH, required=True, help="Mapping file.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, allow_dash=True),
    default="-",
    help="File to write; it must not exist [default: standard output].",
)
@click.option("--start", help="RFC 3339 with offset, or epoch seconds.")
@click.option("--end", help="The same [default: now].")
@click.option(
    "--last",
    default="24h",
    show_default=True,
    help="Length, where --start is not said.",
)
@click.option(
    "--step",
    help="Length of the windows [default: 10s, or the scrape interval if longer].",
)
@click.option(
    "--lookback",
    default="1h",
    show_default=True,
    help="What was there so long before the start is not new.",
)
@click.option(
    "--series-max",
    type=click.IntRange(1),
    default=20_000,
    show_default=True,
    help="Series that one selector may match.",
)
@click.option("--bearer-file", type=PATH, help="File with a bearer token.")
@click.option("--basic-file", type=PATH, help="File with user:password.")
@click.option(
    "--header",
    "headers",
    multiple=True,
    help='Header of each question, as "X-Scope-OrgID: team"; may be repeated.',
)
@click.option("--ca-file", type=PATH, help="Authorities of its certificate (PEM).")
@click.option(
    "--timeout", default="60s", show_default=True, help="How long an answer may take."
)
@explained
def prometheus(
    url: str, map_file: Path, output: Path, start: str | None, end: str | None,
    last: str, step: str | None, lookback: str, series_max: int,
    bearer_file: Path | None, basic_file: Path | None, headers: tuple[str, ...],
    ca_file: Path | None, timeout: str,
) -> None:  # fmt: skip
    """Write counters of the Prometheus at URL as lines that `backtest` reads.

    URL is its address, with the prefix before /api/v1 where it has one. The mapping
    says which counters are requests and failures, and which labels are service and
    release (docs/import-prometheus.md). A summary goes to standard error.
    """
    mapping = read_mapping(read_text(map_file), str(map_file))
    access = Access(
        _address(url),
        _headers(bearer_file, basic_file, headers),
        ca_file,
        seconds_of(timeout, "--timeout"),
    )
    end_ms = epoch_ms_of(end, "--end") if end else now_ms()
    start_ms = (
        epoch_ms_of(start, "--start")
        if start
        else end_ms - seconds_of(last, "--last") * 1000
    )
    if start_ms >= end_ms:
        raise Refused("--start is not before --end: swap them")
    if access.headers and access.url.scheme == "http":
        _warn_of_plain(access.url)
    span = Span(
        start_ms,
        end_ms,
        seconds_of(step, "--step") if step else 0,
        max(1, seconds_of(lookback, "--lookback")),
        series_max,
    )
    with _opened(output) as file:
        done = asyncio.run(_imported(access, mapping, span, file))
    for line in summary(done):
        click.echo(line, err=True)
    name = "FILE" if str(output) == "-" else str(output)
    click.echo(f"try next: hypercare backtest {name}", err=True)


async def _imported(
    access: Access, mapping: MetricMap, span: Span, file: BinaryIO
) -> Import:
    async with Prometheus(access) as api:
        step_s = await _step_s(api, mapping, span)
        start_ms, end_ms = on_grid(span.start_ms, span.end_ms, step_s)
        if start_ms >= end_ms:
            raise Refused(f"no window of {step_s} s fits: set --start earlier")
        placed = span._replace(start_ms=start_ms, end_ms=end_ms, step_s=step_s)
        done = Import(api, mapping, placed)
        progress = Progress("windows")
        async for lines in done.read():
            file.writelines(line + b"\n" for line in lines)
            progress.step()
        progress.done()
        for warning in api.warnings:
            click.echo(f"Prometheus warns: {warning[:500]}", err=True)
    if not any(one.requests for one in done.sources):
        for line in summary(done):
            click.echo(line, err=True)
        raise Refused("no request was counted in the range: see above why")
    return done


async def _step_s(api: Prometheus, mapping: MetricMap, span: Span) -> int:
    """Length of the windows: what was asked for, else what the samples allow."""
    interval_s = await scrape_interval_s(api, mapping, span.start_ms, span.end_ms)
    step_s = span.step_s or max(STEP_S_LEAST, interval_s)
    if not 1 <= step_s <= STEP_S_MAX:
        raise Refused(f"--step: {step_s} s: a window has 1 s to {STEP_S_MAX} s")
    if step_s < interval_s:
        click.echo(
            f"samples seem to come every {interval_s} s: windows of {step_s} s without "
            f"one are gaps; give --step {interval_s}s or more",
            err=True,
        )
    return step_s


def _address(text: str) -> URL:
    try:
        url = URL(text)
        fits = url.scheme in ("http", "https") and bool(url.host)
    except ValueError:
        fits = False
    if not fits:
        raise Refused("URL: give http:// or https://, a host and a port")
    if url.user or url.password:
        raise Refused("URL: no user in the address: use --basic-file")
    if url.query_string or url.fragment or "/api/v1" in url.path:
        raise Refused("URL: end it before /api/v1, without ? and #")
    return url


def _headers(
    bearer_file: Path | None, basic_file: Path | None, headers: tuple[str, ...]
) -> dict[str, str]:
    """Headers of each question. No error repeats a value: it may be a secret."""
    found: dict[str, str] = {}
    for number, text in enumerate(headers, 1):
        match = HEADER.fullmatch(text)
        if match is None:
            raise Refused(f'--header, number {number}: write "Name: value"')
        if match[1].lower() == "authorization":
            raise Refused("--header: others see arguments: use --bearer-file")
        found[match[1]] = match[2]
    if bearer_file is not None and basic_file is not None:
        raise Refused("--bearer-file and --basic-file: give one of the two")
    if bearer_file is not None:
        found["Authorization"] = f"Bearer {_secret(bearer_file)}"
    if basic_file is not None:
        secret = _secret(basic_file)
        if ":" not in secret:
            raise Refused(f"{basic_file}: write user:password, in one line")
        coded = base64.b64encode(secret.encode()).decode()
        found["Authorization"] = f"Basic {coded}"
    return found


def _secret(path: Path) -> str:
    text = read_text(path).strip()
    if not text or not text.isprintable():
        raise Refused(f"{path}: write the secret alone, in one line")
    return text


def _warn_of_plain(url: URL) -> None:
    if url.host not in LOOPBACK:
        click.echo(
            f"headers go to {url.host} unencrypted: use https where it can", err=True
        )


@contextmanager
def _opened(output: Path) -> Iterator[BinaryIO]:
    """The file to write; what is half written when something fails is removed."""
    if str(output) == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    try:
        file = output.open("xb")
    except OSError as error:
        raise Refused(f"{output}: {error}: name a file that does not exist") from error
    with ExitStack() as stack:
        stack.callback(output.unlink, missing_ok=True)
        with file:
            yield file
        stack.pop_all()
