"""`hypercare drill` on a real Kafka: the whole way, and nothing at its end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from acting.figures import drills
from acting.known import Known
from streams.cli.main import main
from streams.gate.executions import Executions
from streams.kafka_local import LocalKafka
from streams.signing import new_key
from streams.wallclock import monotonic_s
from tests.integration.detecting import DetectorStage

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


class Drilled(DetectorStage):
    """Topics and keys; no worker is needed."""

    def run(self, *words: str, public: Path | None = None) -> Result:
        """Run a drill in this process."""
        known = {"HYPERCARE_PUBLIC_KEYS": str(public or self.public), "USER": "ada"}
        env = self.environment("drill") | known
        return CliRunner().invoke(main, ["drill", *words], env=env)

    def known(self) -> Known:
        """All claims up to now."""
        with closing(Executions(self.settings, monotonic_s=monotonic_s)) as found:
            found.catch_up()
            return found.ledger.known


@pytest.fixture
def made(kafka: LocalKafka, tmp_path: Path) -> Iterator[Drilled]:
    """Topics, and the keys of workers."""
    stage = Drilled(kafka.bootstrap, "drill", tmp_path)
    yield stage
    stage.end()


def test_drill_takes_the_whole_way(made: Drilled) -> None:
    """Every step is told; the command is shown and never run; the success stands. With
    a stranger's key, or while all is stopped, it does not go well and counts not."""
    proof = made.folder / "ran"
    stranger = made.folder / "stranger.pub"
    stranger.write_bytes(new_key()[1])
    failed = made.run("--json", public=stranger)
    assert failed.exit_code == 3, failed.output
    last = json.loads(failed.stdout.splitlines()[-1])
    assert (last["name"], last["is_fine"]) == ("signature", False)
    assert drills(made.known()) == {"gate": 0}

    done = made.run("--json", "--", "touch", str(proof))
    assert done.exit_code == 0, done.output
    steps = [json.loads(line) for line in done.stdout.splitlines()]
    names = [step["name"] for step in steps]
    assert names == ["write", "read", "signature", "claim", "record", "run"]
    assert not proof.exists()
    known = made.known()
    succeeded = drills(known)["gate"]
    assert succeeded > 0
    assert known.leases == {}
    (record, _) = sorted(made.recommendations(), key=lambda r: -r.issued_at)
    assert (record.test, record.id[:6]) == (True, "drill_")

    env = made.environment("drill") | {"USER": "ada"}
    stop = CliRunner().invoke(main, ["order", "stop", "--why", "INC-17"], env=env)
    assert stop.exit_code == 0, stop.output
    stopped = made.run()
    assert stopped.exit_code == 3
    assert "FAILED claim" in stopped.stdout
    assert drills(made.known()) == {"gate": succeeded}
