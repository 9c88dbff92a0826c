"""``hypercare status``: what a running worker knows."""

from __future__ import annotations

import http.client
import json
from typing import Any

import click

from streams.cli.common import json_option, settings
from streams.cli.exits import Exit, explained
from streams.errors import Unreachable

TIMEOUT_S = 5


@click.command()
@json_option
@explained
def status(as_json: bool) -> None:
    """Show the releases under judgement and the partitions of a worker.

    Asks the worker at HYPERCARE_WEB_HOST and HYPERCARE_WEB_PORT. Exit code 3 when a
    partition is not ready or a recommendation is open, 30 when nobody answers.
    """
    conf = settings()
    body = ask(conf.web_host, conf.web_port)
    lanes = body.get("lanes", [])
    releases = body.get("releases", [])
    if as_json:
        click.echo(json.dumps(body))
    else:
        _print(lanes, releases)
    unready = [lane for lane in lanes if lane["state"] != "ready"]
    standing = [r for r in releases if (r.get("recommendation") or {}).get("is_open")]
    raise SystemExit(Exit.FOUND if unready or standing else Exit.DONE)


def ask(host: str, port: int) -> dict[str, Any]:
    """The status of the worker that listens there."""
    where = f"{host}:{port}"
    try:
        connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
        connection.request("GET", "/v1/status")
        answer = connection.getresponse()
        found = json.loads(answer.read())
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Unreachable(
            f"no worker answers at {where} ({error}): start one, or set "
            "HYPERCARE_WEB_HOST and HYPERCARE_WEB_PORT to where it listens"
        ) from error
    if answer.status != 200 or not isinstance(found, dict):
        raise Unreachable(
            f"{where} answered {answer.status}: is it a Hypercare worker?"
        )
    return found


def _print(lanes: list[dict[str, Any]], releases: list[dict[str, Any]]) -> None:
    for lane in lanes:
        waiting = (lane["highwater"] or lane["next_offset"]) - lane["next_offset"]
        line = f"partition {lane['partition']}: {lane['state']}, {waiting} records wait"
        click.echo(f"{line} {lane['reason']}".rstrip())
    if not lanes:
        click.echo("this worker holds no partition")
    for release in releases:
        name = f"{release['service']}/{release['environment']}/{release['release']}"
        reasons = ", ".join(release["reasons"])
        click.echo(f"{name}: {release['verdict']} ({reasons})")
        advice = release.get("recommendation") or {}
        if advice.get("is_open"):
            click.echo(f"  {advice['action']}, {advice['state']}: {advice['id']}")
    if not releases:
        click.echo("no release is under judgement")
