"""``hypercare kafka``: the local broker for a terminal, a test or a benchmark.

Exit codes: 0 done (``status``: every node answers), 2 the request or the machine
does not allow it, 3 ``status`` found a node down, 130 Ctrl-C. Progress goes to
standard error, so that standard output holds the answer alone.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict
from functools import wraps
from pathlib import Path
from typing import ParamSpec

import click

from streams.kafka_local.broker import DEFAULT_PORT, DEFAULT_VERSION, LocalKafka
from streams.kafka_local.errors import KafkaLocalError
from streams.kafka_local.jars import VERSIONS

EXIT_USAGE = 2
EXIT_DOWN = 3
EXIT_INTERRUPTED = 130

P = ParamSpec("P")


def default_directory() -> Path:
    """Say where the broker keeps its data when nothing else is asked for."""
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "hypercare" / "kafka"


def _explained(command: Callable[P, None]) -> Callable[P, None]:
    """Turn our errors into one line on standard error and exit code 2."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except KafkaLocalError as error:
            click.echo(f"hypercare kafka: {error}", err=True)
            raise SystemExit(EXIT_USAGE) from error
        except KeyboardInterrupt:
            click.echo("hypercare kafka: stopped", err=True)
            raise SystemExit(EXIT_INTERRUPTED) from None

    return run


directory_option = click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="HYPERCARE_KAFKA_DIR",
    default=default_directory,
    help="Data, logs and pid files [default: ~/.local/state/hypercare/kafka].",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")


@click.group()
def kafka() -> None:
    """Run Apache Kafka on this machine, on loopback only."""


@kafka.command()
@directory_option
@json_option
@click.option(
    "--port",
    type=click.IntRange(1024, 65535),
    envvar="HYPERCARE_KAFKA_PORT",
    default=DEFAULT_PORT,
    show_default=True,
    help="Port of the first node; the others follow.",
)
@click.option(
    "--nodes", type=click.IntRange(1, 9), default=1, show_default=True, help="Nodes."
)
@click.option(
    "--version",
    type=click.Choice(VERSIONS),
    envvar="HYPERCARE_KAFKA_VERSION",
    default=DEFAULT_VERSION,
    show_default=True,
    help="Version of Apache Kafka.",
)
@_explained
def start(directory: Path, as_json: bool, port: int, nodes: int, version: str) -> None:
    """Start Kafka in the background; it runs until `hypercare kafka stop`."""
    broker = LocalKafka(directory, version=version, port=port, nodes=nodes)
    running = LocalKafka.open(directory)
    if running is not None and any(node.pid for node in running.status()):
        if (running.port, running.nodes, running.version) != (port, nodes, version):
            raise KafkaLocalError(
                f"Kafka {running.version} with {running.nodes} node(s) already runs "
                f"from {directory} at {running.bootstrap}. Stop it first with "
                "`hypercare kafka stop`, or use another --dir."
            )
        broker = running
    broker.start(lambda line: click.echo(line, err=True))
    _print_status(broker, as_json)


@kafka.command()
@directory_option
@json_option
@click.option("--wipe", is_flag=True, help="Remove its data, too.")
@_explained
def stop(directory: Path, as_json: bool, wipe: bool) -> None:
    """Stop Kafka; that it does not run is no error."""
    broker = LocalKafka.open(directory)
    if broker is not None:
        if wipe:
            broker.wipe()
        else:
            broker.stop()
    click.echo('{"running": false}' if as_json else "Kafka is stopped")


@kafka.command()
@directory_option
@json_option
@_explained
def status(directory: Path, as_json: bool) -> None:
    """Say whether Kafka runs and where; exit code 3 when a node is down."""
    broker = LocalKafka.open(directory)
    if broker is None:
        where = f"no Kafka was started from {directory}"
        click.echo('{"running": false, "nodes": []}' if as_json else where)
        raise SystemExit(EXIT_DOWN)
    if not _print_status(broker, as_json):
        raise SystemExit(EXIT_DOWN)


def _print_status(broker: LocalKafka, as_json: bool) -> bool:
    nodes = broker.status()
    running = all(node.ready for node in nodes)
    if as_json:
        answer = {
            "running": running,
            "bootstrap": broker.bootstrap,
            "version": broker.version,
            "directory": str(broker.directory),
            "nodes": [asdict(node) for node in nodes],
        }
        click.echo(json.dumps(answer))
        return running
    click.echo(f"Kafka {broker.version} at {broker.bootstrap}, {broker.directory}")
    for node in nodes:
        words = "down" if node.pid is None else f"pid {node.pid}"
        words += "" if node.ready or node.pid is None else ", not answering"
        click.echo(f"  node {node.node}: port {node.port}, {words}")
    return running
