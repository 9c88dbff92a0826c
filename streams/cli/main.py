"""The command ``hypercare``: what it can do, one line each."""

from __future__ import annotations

import importlib
import keyword
import logging

import click

COMMANDS = {
    "worker": "streams.cli.worker",
    "combiner": "streams.cli.combiner",
    "demo": "streams.cli.demo",
    "kafka": "streams.kafka_local.cli",
    "topics": "streams.cli.topics",
    "produce": "streams.cli.produce",
    "record": "streams.cli.record",
    "import": "streams.cli.import_",
    "replay": "streams.cli.replay",
    "backtest": "streams.cli.backtest",
    "shadow": "streams.cli.shadow",
    "pilot": "streams.cli.pilot",
    "rules": "streams.cli.rules",
    "inject": "streams.cli.inject",
    "power": "streams.cli.power",
    "certify": "streams.cli.certify",
    "explain": "streams.cli.explain",
    "status": "streams.cli.status",
    "state": "streams.cli.state",
    "gate": "streams.cli.gate",
    "gates": "streams.cli.gates",
    "act": "streams.cli.act",
    "executions": "streams.cli.executions",
    "order": "streams.cli.order",
    "calendar": "streams.cli.calendar",
    "tell": "streams.cli.tell",
    "label": "streams.cli.tell",
    "wrong": "streams.cli.tell",
    "drill": "streams.cli.drill",
    "keys": "streams.cli.keys",
    "capacity": "streams.cli.capacity",
    "doctor": "streams.cli.doctor",
    "version": "streams.cli.version",
}
"""Word on the command line and the module that holds a click command of that
name, with an underscore behind it where the word is Python's own. Loaded when asked
for: ``replay`` must not wait for Faust to import."""


class Words(click.Group):
    """Loads a command when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The words in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a word, or None."""
        module = COMMANDS.get(cmd_name)
        if module is None:
            return None
        name = f"{cmd_name}_" if keyword.iskeyword(cmd_name) else cmd_name
        found = getattr(importlib.import_module(module), name)
        assert isinstance(found, click.Command)
        return found


@click.command(cls=Words, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Watch each release after it ships; say whether to roll it back, and why.

    Settings come from environment variables HYPERCARE_*, see docs/cli.md.
    Exit codes: 0 done, 2 wrong request or settings, 3 something was found wrong,
    30 Kafka or a worker does not answer.
    """
    # What the clients say about every attempt is summed up in our own one message.
    for name in ("kafka", "aiokafka"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
