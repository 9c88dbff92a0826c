"""What the example mutes, asked of a real Alertmanager through amtool."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.kafka_local import free_ports
from tests.integration.support import until
from tests.rules.programs import ALERTMANAGER_EXAMPLE, monitoring_folder, run

Labels = dict[str, str]

SHOP = {"service": "shop", "environment": "production"}
HARM = {"alertname": "ReleaseRegression", "release": "2", "severity": "page", **SHOP}
STALE = {"alertname": "HypercareVerdictStale", "release": "2", **SHOP}
SILENT = {"alertname": "SourceSilent", "stream": "usage", **SHOP}
UNJUDGED = {"alertname": "ReleaseUnjudged", "release": "2", **SHOP}
OTHER = {**SILENT, "service": "other"}
DOWN = {"alertname": "HypercareDown", "severity": "page"}
NO_STATE = {"alertname": "HypercareBlind", "reason": "state"}
BAD_DATA = {"alertname": "HypercareBlind", "reason": "telemetry", **SHOP}
ELSEWHERE = {**STALE, "service": "third"}


@pytest.fixture
def alertmanager(tmp_path: Path) -> Iterator[str]:
    """Address of an Alertmanager of its own, on the shipped example."""
    folder, port = monitoring_folder(), free_ports(1)
    with (tmp_path / "log").open("wb") as out:
        program = subprocess.Popen(
            [
                str(folder / "prometheus-alertmanager"),
                f"--config.file={ALERTMANAGER_EXAMPLE}",
                f"--storage.path={tmp_path}",
                f"--web.listen-address=127.0.0.1:{port}",
                "--cluster.listen-address=",
            ],
            cwd=folder,
            stdout=out,
            stderr=out,
        )
    try:
        ready = f'Listening on" address=127.0.0.1:{port}'
        until(
            lambda: ready in (tmp_path / "log").read_text(),
            what="Alertmanager is ready",
            limit_s=30,
        )
        yield f"http://127.0.0.1:{port}"
    finally:
        program.kill()
        program.wait()


def names_of(alerts: list[Labels]) -> list[tuple[str, str]]:
    """Alerts by name and service, in order."""
    return sorted((a["alertname"], a.get("service", "")) for a in alerts)


def shown(alertmanager: str, *which: str) -> list[tuple[str, str]]:
    """Alerts that amtool shows: muted ones only with ``--inhibited``."""
    said = run(
        "amtool", f"--alertmanager.url={alertmanager}", "--output=json",
        "alert", "query", *which,
    )  # fmt: skip
    return names_of([alert["labels"] for alert in json.loads(said)])


@pytest.mark.parametrize(
    ("cause", "muted", "spared"),
    [
        (DOWN, [ELSEWHERE, SILENT, UNJUDGED, OTHER], [HARM]),
        (NO_STATE, [ELSEWHERE, SILENT, UNJUDGED, OTHER], [HARM]),
        (BAD_DATA, [SILENT, UNJUDGED], [ELSEWHERE, OTHER, HARM]),
        (STALE, [SILENT, UNJUDGED], [ELSEWHERE, OTHER, HARM]),
        (HARM, [], [ELSEWHERE, SILENT, UNJUDGED, OTHER]),
    ],
    ids=["down", "state", "telemetry", "stale", "harm"],
)
def test_causes_mute_their_consequences(
    alertmanager: str, cause: Labels, muted: list[Labels], spared: list[Labels]
) -> None:
    """A cause mutes what follows from it, of its own service where it has one; a
    regression is never muted and mutes nothing."""
    for alert in [cause, *muted, *spared]:
        labels = [f"{name}={value}" for name, value in alert.items()]
        run("amtool", f"--alertmanager.url={alertmanager}", "alert", "add", *labels)
    until(
        lambda: shown(alertmanager, "--inhibited") == names_of(muted),
        what=f"{names_of(muted)} are muted",
        limit_s=10,
    )
    assert shown(alertmanager, "--active") == names_of([cause, *spared])
