"""``hypercare doctor``: what is wrong with this installation, and the fix."""

from __future__ import annotations

import asyncio
import json
import os

import click

from streams.cli.common import candidate_option, json_option
from streams.cli.exits import Exit, explained
from streams.doctor import Finding, Level, local_findings, read_settings, worst
from streams.doctor_cluster import cluster_findings, no_answer
from streams.doctor_shadow import shadow_findings
from streams.errors import Unreachable
from streams.wallclock import now_ms


@click.command()
@candidate_option("--shadow")
@json_option
@explained
def doctor(shadow: str | None, as_json: bool) -> None:
    """Check settings, rules, Kafka, clock, topics, state, port: a line each, with fix.

    With --shadow also a candidate: its topics, whether it runs and keeps up, and that
    nobody who acts could take its words for a worker's.

    Writes one record without meaning into the log, to compare clocks. Exit code 0:
    nothing keeps Hypercare from working; 3: an error was found; 30: Kafka does not
    answer.
    """
    code = asyncio.run(_run(as_json, shadow))
    raise SystemExit(code)


async def _run(as_json: bool, shadow: str | None) -> Exit:
    found: list[Finding] = []

    def say(one: Finding) -> None:
        found.append(one)
        click.echo(json.dumps(one._asdict()) if as_json else str(one))

    settings, said = read_settings(os.environ)
    for one in said:
        say(one)
    if settings is not None:
        for one in local_findings(settings):
            say(one)
        try:
            async for one in cluster_findings(settings, now_ms):
                say(one)
            if shadow is not None:
                async for one in shadow_findings(settings, shadow):
                    say(one)
        except Unreachable as problem:
            say(no_answer(problem))
            return Exit.UNREACHABLE
    return Exit.FOUND if worst(found) is Level.ERROR else Exit.DONE
