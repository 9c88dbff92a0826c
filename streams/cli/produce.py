"""``hypercare produce``: lines of a file into Kafka."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import msgspec
from kafka import KafkaProducer
from kafka.errors import AuthorizationError, KafkaError

from detector.replay import arrival_ms
from streams.cli.common import Progress, lines_of, settings
from streams.cli.exits import Exit, explained
from streams.errors import Unreachable
from streams.greeting import explained_error, open_client
from streams.settings import Settings
from streams.topics import INGRESS, LOG

INGRESS_OF_KIND = {
    "usage": "usage",
    "latency": "usage",
    "error": "errors",
    "deploy": "deploys",
    "feedback": "feedback",
}


@click.command()
@click.argument("source", type=click.Path(path_type=Path, allow_dash=True), default="-")
@click.option(
    "--to",
    type=click.Choice(["ingress", LOG, *INGRESS]),
    default="ingress",
    show_default=True,
    help="Ingress topic by kind, or straight into the log.",
)
@explained
def produce(source: Path, to: str) -> None:
    """Send the lines of SOURCE, a file or - for standard input, to Kafka.

    A line is an envelope or an array of envelopes of one service. Lines that are
    neither are named on standard error and not sent; exit code 3.
    """
    conf = settings()
    producer: Any = open_client(
        conf,
        KafkaProducer,
        "produce",
        acks="all",
        linger_ms=20,
        compression_type=conf.connection.compression_type(),
    )
    progress = Progress("lines")
    refused = 0
    pending = []
    arrived = 0
    for number, line in enumerate(lines_of(source), 1):
        if not line.strip():
            continue
        try:
            service, topic = _address(line, to)
        except ValueError as error:
            click.echo(f"line {number}: {error}", err=True)
            refused += 1
            continue
        arrived = arrival_ms(line, arrived)
        pending.append(
            producer.send(
                conf.topic(topic),
                line.strip(),
                key=service.encode(),
                timestamp_ms=arrived or None,
            )
        )
        progress.step()
    _await(producer, pending, conf)
    progress.done()
    raise SystemExit(Exit.FOUND if refused else Exit.DONE)


def _address(line: bytes, to: str) -> tuple[str, str]:
    """Service and topic of a line; ValueError says what is wrong with it."""
    try:
        found = msgspec.json.decode(line)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(f"not JSON ({error})") from error
    members = found if isinstance(found, list) else [found]
    if not members or not all(isinstance(m, dict) for m in members):
        raise ValueError("neither an object nor an array of objects")
    services = {m.get("service") for m in members}
    if len(services) != 1 or not isinstance(service := services.pop(), str):
        raise ValueError("its members need one and the same `service`")
    if to != "ingress":
        return service, to
    topics = {INGRESS_OF_KIND.get(str(m.get("kind"))) for m in members}
    topic = topics.pop() if len(topics) == 1 else None
    if topic is None:
        kinds = ", ".join(INGRESS_OF_KIND)
        raise ValueError(
            f"its `kind` must be one of {kinds}, the same for a whole line; "
            f"send others with --to {LOG}"
        )
    return service, topic


def _await(producer: Any, pending: list[Any], conf: Settings) -> None:
    timeout_s = conf.io_timeout_s
    try:
        producer.flush(timeout=timeout_s)
        for future in pending:
            future.get(timeout=timeout_s)
    except AuthorizationError as error:
        raise explained_error(conf, error) from error
    except KafkaError as error:
        raise Unreachable(f"not everything was acknowledged: {error}") from error
    finally:
        producer.close()
