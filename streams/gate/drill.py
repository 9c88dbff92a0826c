"""A drill end to end: written, read, checked, claimed, and stopped at the last step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from typing import Any, NamedTuple

from kafka import KafkaProducer
from kafka.errors import KafkaError

from acting.answers import Why
from acting.drilling import drill
from acting.records import Drill
from acting.trust import distrust
from detector.verdicts import RecommendationRecord
from detector.wire import RECOMMENDATIONS, recommendation_output
from streams.cloudevent import headers_of
from streams.gate.asking import Question, checker, claim_of
from streams.gate.executions import Executions
from streams.gate.reading import Release, Signed, Topics
from streams.greeting import explained_error, open_client
from streams.settings import Settings
from streams.signing import HEADER, Signer, Verifier

KIND = "gate"
"""The way over the topics: what every actuator and the command `gate` stand on."""

LEASE_S = 60
SKEW_MS = 60_000


class Step(NamedTuple):
    """One step: whether it went as it should, how long it took, and what was seen."""

    name: str
    is_fine: bool
    took_ms: int
    text: str


class Clocks(NamedTuple):
    """What time it is, and how long things take."""

    now_ms: Callable[[], int]
    monotonic_s: Callable[[], float]


class DrillRun:
    """Takes the steps one after the other, until one fails.

    Parameters
    ----------
    settings : Settings
        Where Kafka is.
    signer : Signer
        Signs as workers do.
    verifier : Verifier
        Whose recommendations count.
    clocks : Clocks
        Time.
    actor, token : str
        Who drills, and the name of the claim.

    Attributes
    ----------
    record : RecommendationRecord
        What is sent.
    token : str
        The name of the claim.
    """

    def __init__(
        self,
        settings: Settings,
        signer: Signer,
        verifier: Verifier,
        clocks: Clocks,
        *,
        actor: str,
        token: str,
    ) -> None:
        self._settings = settings
        self._signer = signer
        self._verifier = verifier
        self._clocks = clocks
        self._actor, self.token = actor, token
        self._took_ms: dict[str, int] = {}
        self.record: RecommendationRecord = drill(actor, clocks.now_ms())
        self._signed: Signed | None = None

    def steps(self) -> Iterator[Step]:
        """Each step when it is over; the last one says that all went well, or failed.

        Raises
        ------
        Unreachable
            If Kafka does not answer.
        """
        for name, work in (
            ("write", self._write),
            ("read", self._read),
            ("signature", self._check),
            ("claim", self._claim),
            ("record", self._note),
        ):
            begun_s = self._clocks.monotonic_s()
            is_fine, text = work()
            took_ms = round((self._clocks.monotonic_s() - begun_s) * 1000)
            self._took_ms[name] = took_ms
            yield Step(name, is_fine, took_ms, text)
            if not is_fine:
                return

    def _write(self) -> tuple[bool, str]:
        """As a worker writes, to the topic that all who act read."""
        conf, output = self._settings, recommendation_output(self.record)
        topic, key = conf.topic(RECOMMENDATIONS), output.key.encode()
        signature = self._signer.header(topic, key, output.value)
        producer: Any = open_client(conf, KafkaProducer, "drill", acks="all")
        try:
            headers = [*headers_of(output), (HEADER, signature)]
            sent = producer.send(topic, output.value, key=key, headers=headers)
            told = sent.get(timeout=conf.io_timeout_s)
        except KafkaError as error:
            raise explained_error(conf, error) from error
        finally:
            producer.close()
        return True, f"{self.record.id} to {topic}[{told.partition}]@{told.offset}"

    def _read(self) -> tuple[bool, str]:
        """As a gate reads."""
        since_ms = self.record.issued_at - SKEW_MS
        with closing(self._topics()) as topics:
            self._signed = topics.recommendation(self.record.id, since_ms)
        if self._signed is None or self._signed.record != self.record:
            return False, "what was written is not what is read"
        return True, f"{len(self._signed.value)} bytes, as they were written"

    def _check(self) -> tuple[bool, str]:
        assert self._signed is not None
        said = distrust(*self._signed[:4], checker(self._verifier))
        if said is not None:
            return False, f"gates would not believe it: {said.text}"
        return True, f"by {', '.join(self._signer.key_ids)}, which gates know"

    def _claim(self) -> tuple[bool, str]:
        """All locks are asked; the last one stops a drill, and only a drill."""
        assert self._signed is not None
        wanted = self.record
        place = Release(wanted.service, wanted.environment, wanted.release, None)
        question = Question(place, f"drill of {self._actor}", self.token, LEASE_S)
        with closing(self._executions()) as executions:
            executions.catch_up()
            ruling = executions.claim(claim_of(question, self._signed, None))
        is_fine = ruling.why is Why.DRILL
        return is_fine, f"{ruling.answer:d} {ruling.why}: {ruling.text}"

    def _note(self) -> tuple[bool, str]:
        return self._on_record(KIND, self.token, dict(self._took_ms))

    def noted(self, kind: str, token: str, taken: Iterable[Step]) -> Step:
        """The step of putting another way's success on record; raises as `steps`."""
        begun_s = self._clocks.monotonic_s()
        took_ms = {step.name: step.took_ms for step in taken}
        is_fine, text = self._on_record(kind, token, took_ms)
        spent_ms = round((self._clocks.monotonic_s() - begun_s) * 1000)
        return Step(f"record {kind}", is_fine, spent_ms, text)

    def _on_record(
        self, kind: str, token: str, took_ms: dict[str, int]
    ) -> tuple[bool, str]:
        """For whoever watches: only a claim that was stopped as a drill counts."""
        with closing(self._executions()) as executions:
            executions.catch_up()
            before = executions.ledger.known.drills.get(kind)
            executions.append(Drill(token, kind, self._actor, took_ms))
            done = executions.ledger.known.drills.get(kind)
            held = executions.ledger.known.leases
        is_held = (self.record.id, self.record.action) in held
        if done is None or done == before or is_held:
            return False, "the claims do not show that the drill was stopped"
        return True, "it holds no lease, and its success is on record"

    def _topics(self) -> Topics:
        return Topics(self._settings, monotonic_s=self._clocks.monotonic_s)

    def _executions(self) -> Executions:
        return Executions(self._settings, monotonic_s=self._clocks.monotonic_s)
