"""``hypercare rules``: check, test, compare, explain and tune rules."""

from __future__ import annotations

import importlib

import click

WORDS = ("check", "test", "diff", "explain", "precision", "propose")
"""Each stands in a module of its name, which is loaded when the word is used."""


class RuleWords(click.Group):
    """Loads a command when it is used: ``check`` must not wait for the core."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The words, in the order in which somebody who tunes needs them."""
        return list(WORDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a word, or None."""
        if cmd_name not in WORDS:
            return None
        module = importlib.import_module(f"streams.cli.rules.{cmd_name}")
        found = getattr(module, cmd_name)
        assert isinstance(found, click.Command)
        return found


@click.command(cls=RuleWords)
def rules() -> None:
    """Check, test, compare and explain rules; tune them by what people said."""
