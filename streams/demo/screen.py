"""What the demonstration prints: a clock, what happened, the recommendation."""

from __future__ import annotations

import textwrap

import click

from detector.verdicts import RecommendationRecord, VerdictRecord
from detector.wording import segment_text, times_text

WIDTH = 78


class Screen:
    """Prints to a terminal or a file; colours only where there is a terminal."""

    def __init__(self) -> None:
        self._start_ms: int | None = None

    def start_clock(self, at_ms: int) -> None:
        """The traffic starts now."""
        self._start_ms = at_ms

    def say(self, text: str) -> None:
        """A line before the clock runs."""
        click.echo(f"       {text}")

    def progress(self, text: str) -> None:
        """A step of something that takes a while."""
        click.secho(f"       {text}", dim=True)

    def shop(self, second: int, text: str) -> None:
        """Something happened in the shop."""
        click.echo(f"{_clock(second)}  {text}")

    def verdict(self, record: VerdictRecord, at_ms: int) -> None:
        """A verdict changed."""
        colour = {"regressed": "red", "healthy": "green"}.get(record.verdict)
        word = click.style(f"verdict {record.verdict}", fg=colour, bold=True)
        reasons = ", ".join(record.reasons)
        click.echo(f"{self._elapsed(at_ms)}  {word}: {reasons}; {record.action}")

    def recommendation(self, record: RecommendationRecord, at_ms: int) -> None:
        """The recommendation, as a person on call would read it."""
        lines = textwrap.wrap(record.sentence, WIDTH - 4)
        rows = [
            ("action", f"{record.action} to {record.target}"),
            ("where", segment_text(tuple((record.segment or {}).items()))),
            ("rate ratio", times_text(record.rate_ratio)),
            ("evidence", f"{record.log_e:.1f} nats against chance"),
            ("effect", record.expected_effect),
            ("id", f"{record.id} revision {record.revision}"),
        ]
        click.echo(f"{self._elapsed(at_ms)}  recommendation")
        click.echo("  +" + "-" * (WIDTH - 2))
        for line in lines:
            click.secho(f"  | {line}", bold=True)
        click.echo("  |")
        for name, text in rows:
            click.echo(f"  | {name:<11}{text}")
        click.echo("  +" + "-" * (WIDTH - 2))

    def _elapsed(self, at_ms: int) -> str:
        return _clock((at_ms - (self._start_ms or at_ms)) // 1000)


def _clock(second: int) -> str:
    return f"{second // 60:02d}:{second % 60:02d}"
