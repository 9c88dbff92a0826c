"""A lane with a clock that is set by hand, and a journal in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import msgspec

from acting.answers import Answer, Ruling, Why
from acting.ledger import Ledger
from acting.records import Claim, Record
from detector.verdicts import RecommendationRecord, Verdict
from streams.actuators.actinglane import ActingLane
from streams.actuators.lane import Lane, Tools
from streams.actuators.leases import Leases
from streams.actuators.parcel import Parcel, Result, Word
from streams.actuators.receiver import Receiver
from streams.actuators.tally import Tally
from streams.errors import Unreachable
from streams.gate.reading import Release, Signed, Situation
from streams.progress import LaneState
from streams.pulse import Pulse
from streams.signing import Signer, Verifier, new_key
from tests.unit.streams.receivers import START_MS, recommendation

MB = 1024 * 1024


class World:
    """Time, journal and counts of a test.

    ``journal`` holds what a restart would find, as bytes; while ``is_away`` Kafka
    takes nothing.
    """

    def __init__(self) -> None:
        self.at_ms = START_MS
        self.journal: dict[str, bytes] = {}
        self.is_away = False
        self.tally = Tally()
        self.tools = Tools(
            keep=self.keep,
            now_ms=lambda: self.at_ms,
            chance=lambda: 0.5,
            tally=self.tally,
        )

    async def keep(self, parcel: Parcel) -> None:
        """Write a delivery down."""
        if self.is_away:
            raise Unreachable("Kafka is away")
        self.journal[parcel.name] = msgspec.json.encode(parcel)

    def kept(self) -> Iterator[Parcel]:
        """What a restart finds."""
        for value in self.journal.values():
            yield msgspec.json.decode(value, type=Parcel)

    def counted(self, name: str, **labels: str) -> float:
        """A counter's value."""
        found = self.tally.registry.get_sample_value(f"hypercare_{name}", labels)
        return found or 0.0


class Told:
    """An actuator that gives the results it is told, and remembers attempts."""

    def __init__(self, *results: Result) -> None:
        self.results = list(results)
        self.always = Result(Word.DONE)
        self.events: list[tuple[str, int]] = []
        self.hold: asyncio.Event | None = None
        self.problem = ""

    def obstacle(self, parcel: Parcel) -> str:
        """What was told."""
        return self.problem

    async def deliver(self, parcel: Parcel, now_ms: int) -> Result:
        """The next result."""
        self.events.append((parcel.event, now_ms))
        if self.hold is not None:
            await self.hold.wait()
        return self.results.pop(0) if self.results else self.always

    async def drill(self, parcel: Parcel, now_ms: int) -> Result:
        """As in earnest."""
        return await self.deliver(parcel, now_ms)

    async def check(self) -> list[str]:
        """Nothing."""
        return []

    def close(self) -> None:
        """Nothing."""


def lane_of(world: World, told: Told, bytes_max: int = MB) -> Lane:
    """A lane that tells."""
    return Lane(Receiver(name="one"), told, world.tools, bytes_max)


class Keyed:
    """A worker's keys, and the recommendations it signs."""

    def __init__(self, folder: Path) -> None:
        paths = folder / "k.key", folder / "k.pub"
        for path, text in zip(paths, new_key(), strict=True):
            path.write_bytes(text)
        self.signer = Signer.load(paths[:1])
        self.verifier = Verifier.load(paths[1:])

    def signed(self, record: RecommendationRecord) -> Signed:
        """A record as a worker would have written it."""
        value, topic = msgspec.json.encode(record), "t.recommendations"
        header = self.signer.header(topic, record.id.encode(), value).decode()
        return Signed(topic, record.id, value, header, record)


class Claims:
    """The topic of claims in memory: the real fold, its time from the world."""

    def __init__(self, world: World) -> None:
        self.ledger, self.records = Ledger(), list[Record]()
        self._world = world

    def catch_up(self) -> None:
        """Nothing else writes."""
        if self._world.is_away:
            raise Unreachable("Kafka is away")

    def append(self, record: Record) -> None:
        """Take it in."""
        self.catch_up()
        self.records.append(record)
        self.ledger.take(record, self._world.at_ms)

    def claim(self, claim: Claim) -> Ruling:
        """Take it in; what became of it."""
        self.append(claim)
        return self.ledger.rulings[claim.token]

    def close(self) -> None:
        """Nothing."""


class Seen:
    """What workers have said: of one release, freshly."""

    def __init__(self, world: World, signed: Signed) -> None:
        self.world, self.signed = world, signed
        self.verdict = Verdict.REGRESSED

    def situation(self, asked: Release, now_ms: int) -> Situation:
        """The verdict, the newest recommendation, and a worker that watches."""
        record = self.signed.record
        verdict: Any = _Said(self.verdict, record.sentence)
        assert asked[:3] == (record.service, record.environment, record.release)
        pulse = Pulse(0, "w", 1, LaneState.READY, "", 5, now_ms)
        return Situation(verdict, self.signed, pulse, now_ms, 10)


class _Said(msgspec.Struct):
    verdict: Verdict
    sentence: str


class Acting:
    """A receiver that acts, with all that it asks first."""

    def __init__(self, folder: Path, told: Told, **changes: Any) -> None:
        self.world, self.told, self.keyed = World(), told, Keyed(folder)
        self.claims = Claims(self.world)
        record = recommendation(**changes)
        self.signed = self.keyed.signed(record)
        self.seen = Seen(self.world, self.signed)
        self.stopped: Ruling | None = None
        self.objection: Ruling | None = None
        self._tokens = count(1)
        self.lane = self.anew()

    def anew(self) -> ActingLane:
        """The lane after a restart: all it knows stands in the journal."""
        claims: Any = self.claims
        leases = Leases(
            self.seen,
            claims,
            self.keyed.verifier,
            stopped=lambda: self.stopped,
            now_ms=lambda: self.world.at_ms,
            may_return=lambda _: self.objection,
        )
        lane = ActingLane(
            Receiver(name="one", kind="http", lease_s=120),
            self.told,
            self.world.tools,
            MB,
            leases=leases,
            token=lambda: f"{next(self._tokens):016d}",
            rest=self.rest,
        )
        for parcel in self.world.kept():
            lane.restore(parcel)
        return lane

    async def rest(self, seconds: float) -> None:
        """Time goes on, and Kafka comes back."""
        self.world.at_ms += int(seconds * 1_000)
        self.world.is_away = False

    async def go(self, seconds: float = 0.0) -> None:
        """Time goes on; what is due is done."""
        self.world.at_ms += int(seconds * 1_000)
        await self.lane.step()

    def ended(self) -> list[str]:
        """The kinds of records in the topic of claims, in order."""
        return [
            getattr(one, "end", type(one).__name__.lower())
            for one in self.claims.records
        ]


KILLED = Ruling(Answer.FROZEN, Why.KILLED, "stopped here")
