"""``hypercare version``."""

from __future__ import annotations

import json
import platform
from importlib import metadata

import click

from detector.version import CODE_VERSION

SHOWN = ("faust-streaming", "aiokafka", "kafka-python", "numpy", "scipy")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
def version(as_json: bool) -> None:
    """Say which version this is, and of what it is made."""
    parts = {name: metadata.version(name) for name in SHOWN}
    if as_json:
        about = {"hypercare": CODE_VERSION, "python": platform.python_version()}
        click.echo(json.dumps(about | parts))
        return
    click.echo(f"hypercare {CODE_VERSION} (Python {platform.python_version()})")
    for name, value in parts.items():
        click.echo(f"  {name} {value}")
