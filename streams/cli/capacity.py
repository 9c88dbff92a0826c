"""``hypercare capacity``: what does this traffic need?"""

from __future__ import annotations

import json
import os
import platform

import click
import msgspec

from detector.version import CODE_VERSION
from streams.capacity.model import SHAPES, Measured, Plan, Traffic, plan, read_slopes
from streams.cli.common import json_option
from streams.cli.exits import explained


@click.command()
@click.option(
    "--events",
    "events_per_s",
    type=click.FloatRange(min=0),
    required=True,
    help="Events a second, of all services.",
)
@click.option(
    "--shape",
    type=click.Choice(SHAPES),
    default="array",
    show_default=True,
    help="One event a record, about a hundred, or aggregates.",
)
@click.option("--services", type=click.IntRange(1), default=100, show_default=True)
@click.option(
    "--releases",
    type=click.IntRange(1),
    default=2,
    show_default=True,
    help="Live releases of a service.",
)
@click.option(
    "--segments",
    type=click.IntRange(0, 512),
    default=4,
    show_default=True,
    help="Segments counted apart.",
)
@click.option(
    "--hottest",
    "hottest_per_s",
    type=click.FloatRange(min=0),
    default=0.0,
    help="Events a second of the busiest service [default: the mean].",
)
@click.option("--window-s", type=click.IntRange(1, 3600), default=10, show_default=True)
@click.option(
    "--days",
    type=click.FloatRange(0, 16),
    default=16.0,
    show_default=True,
    help="Days of the past that are held.",
)
@click.option("--replication", type=click.IntRange(1), default=3, show_default=True)
@click.option(
    "--measure", "is_measured", is_flag=True, help="Measure this machine first."
)
@json_option
@explained
def capacity(is_measured: bool, as_json: bool, **asked: object) -> None:
    """Say what cores, partitions, memory and bandwidth a traffic needs.

    Figures come from slopes measured on one machine, or with --measure on this one
    (about a minute, no Kafka needed). Cores are planned to be 60 % busy. Where one
    service is too hot for a partition the answer says so and what helps.
    """
    traffic = msgspec.convert(asked, Traffic)
    source = _measured() if is_measured else read_slopes()
    found = plan(traffic, source.slopes)
    if as_json:
        told = {"plan": found._asdict(), "traffic": msgspec.to_builtins(traffic)}
        click.echo(json.dumps({**told, "measured": msgspec.to_builtins(source)}))
        return
    for name, value in rows(found):
        click.echo(f"{name:<28} {value}")
    if found.advice:
        click.echo(f"\n{found.advice}")
    click.echo(
        f"\nmeasured: {source.machine}, commit {source.commit}: {source.command}"
    )


def rows(found: Plan) -> list[tuple[str, str]]:
    """The answer line by line."""
    shares = ", ".join(f"{k} {v:.2f}" for k, v in found.share_of_core.items())
    return [
        ("cores, 60 % busy", f"{found.cores:.1f}"),
        ("workers", str(found.workers)),
        ("combiners", str(found.combiners)),
        ("partitions of the log", str(found.partitions)),
        ("memory of a worker", f"{found.memory_mb_per_worker:,.0f} MB"),
        ("state topic", f"{found.state_topic_mb:,.0f} MB"),
        ("snapshots", f"{found.snapshot_mb_per_s:,.2f} MB/s"),
        ("log", f"{found.log_mb_per_s:,.2f} MB/s"),
        ("log, replicated", f"{found.log_gb_per_day:,.0f} GB a day"),
        ("one service at most", f"{found.hottest_limit_per_s:,.0f} events/s"),
        ("bottleneck", found.bottleneck),
        ("shares of a core", shares),
    ]


def _measured() -> Measured:
    """The slopes of this machine."""
    from streams.capacity.measure import measure

    def say(text: str) -> None:
        click.echo(f"measuring: {text}", err=True)

    return Measured(
        commit=CODE_VERSION,
        command="hypercare capacity --measure",
        machine=f"this one: {os.cpu_count()} cores, Python {platform.python_version()}",
        slopes=measure(read_slopes().slopes, say),
    )
