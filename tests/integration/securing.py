"""Programs of everybody who acts, on a Kafka with access lists."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from click.testing import CliRunner, Result

from detector.verdicts import Verdict, recommendation_id
from streams.cli.main import main
from streams.logreader import consumer_of, partitions_of
from streams.permissions import Permission, Role, permissions
from streams.wallclock import now_ms
from tests.integration.gating import Place, rollback_of, verdict_of
from tests.integration.secured import SecuredKafka
from tests.integration.support import ROOT

ACTUATORS = """\
version: 1
receivers:
  - {name: flags, kind: flags, actions: [withdraw]}
end_of_receivers: true
"""


class Secured(Place):
    """Topics of workers, written by a super user, and programs of everybody else."""

    def __init__(self, kafka: SecuredKafka, prefix: str, folder: Path) -> None:
        super().__init__(kafka.broker.bootstrap, prefix, folder)
        self.kafka = kafka
        (folder / "actuators.yaml").write_text(ACTUATORS)
        self.pulse()

    def environment(self, user: str) -> dict[str, str]:
        """Variables of a user's program."""
        clean = {k: v for k, v in os.environ.items() if not k.startswith("HYPERCARE_")}
        return (
            clean
            | self.kafka.environment(user)
            | {
                "HYPERCARE_PREFIX": self.settings.prefix,
                "HYPERCARE_GROUP": self.settings.group,
                "HYPERCARE_IO_TIMEOUT": "10",
                "HYPERCARE_PUBLIC_KEYS": str(self.folder / "gating.pub"),
                "HYPERCARE_SIGNING_KEYS": str(self.folder / "gating.key"),
                "HYPERCARE_ACTUATORS": str(self.folder / "actuators.yaml"),
                "HYPERCARE_STOP_FILE": str(self.folder / "STOP"),
                "HYPERCARE_GATES_TOKENS": str(self.token_file),
                "USER": user,
            }
        )

    def run(self, user: str, *words: str) -> Result:
        """A command of a user, in this process."""
        return CliRunner().invoke(main, list(words), env=self.environment(user))

    def harmed(self, service: str) -> str:
        """A service's release 2 has regressed; the recommendation's id."""
        start_ms = now_ms()
        name = recommendation_id(service, "production", "2", None, start_ms)
        wanted = rollback_of((service, "2"), id=name, episode_start_ms=start_ms)
        self.verdict(
            verdict_of(
                (service, "2"), verdict=Verdict.REGRESSED, recommendation_id=name
            )
        )
        self.recommend(wanted)
        self.pulse()
        return name

    def needs(self, role: Role) -> tuple[Permission, ...]:
        """What is listed for a role."""
        return permissions(self.settings, role)

    def written(self) -> list[int]:
        """Up to where claims and the log are written."""
        with closing(consumer_of(self.settings)) as consumer:
            topics = (self.settings.topic(name) for name in ("executions", "events"))
            parts = [
                p for t in topics for p in partitions_of(self.settings, consumer, t)
            ]
            return list(consumer.end_offsets(parts).values())

    @contextmanager
    def without(self, user: str, need: Permission) -> Iterator[None]:
        """A user lacks one right."""
        self.kafka.revoke(f"User:{user}", [need])
        try:
            yield
        finally:
            self.kafka.grant(f"User:{user}", [need])

    @contextmanager
    def process(self, user: str, *words: str, **more: str) -> Iterator[Path]:
        """A program of a user that runs on, and its log."""
        log = self.folder / f"{words[0]}-{secrets.token_hex(4)}.log"
        with log.open("ab") as out:
            found = subprocess.Popen(
                [sys.executable, "-m", "streams.cli", *words],
                cwd=ROOT,
                env=self.environment(user) | more,
                stdout=out,
                stderr=out,
            )
        try:
            yield log
        finally:
            found.terminate()
            found.wait(30)
