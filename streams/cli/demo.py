"""``hypercare demo``: the main job on one machine, in a minute."""

from __future__ import annotations

import signal

import click

from streams.cli.exits import Exit, explained
from streams.demo.run import run_demo
from streams.demo.screen import Screen
from streams.kafka_local.broker import DEFAULT_PORT, DEFAULT_VERSION

WEB_PORT = 9108


@click.command()
@click.option(
    "--kafka-port",
    type=click.IntRange(1024, 65535),
    envvar="HYPERCARE_KAFKA_PORT",
    default=DEFAULT_PORT,
    show_default=True,
)
@click.option(
    "--web-port",
    type=click.IntRange(1024, 65535),
    envvar="HYPERCARE_WEB_PORT",
    default=WEB_PORT,
    show_default=True,
)
@click.option("--kafka-version", default=DEFAULT_VERSION, show_default=True)
@explained
def demo(kafka_port: int, web_port: int, kafka_version: str) -> None:
    """Start Kafka, a worker and a shop with a bad release; watch the verdict turn.

    Ends by itself with exit code 0 when the recommendation is there. Ctrl-C ends it
    at any time; no process and no data stay behind.
    """
    # Also where a shell started us in the background, which ignores SIGINT.
    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, signal.default_int_handler)
    try:
        right = run_demo(
            kafka_port=kafka_port,
            web_port=web_port,
            version=kafka_version,
            screen=Screen(),
        )
    except KeyboardInterrupt:
        click.echo("\nstopped", err=True)
        raise SystemExit(130) from None
    raise SystemExit(Exit.DONE if right else Exit.FOUND)
