"""Gates on a real Kafka that say what a test has written into the workers' topics."""

from __future__ import annotations

import asyncio
import http.client
import json
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from kafka import KafkaProducer

from acting.answers import Ruling
from detector.verdicts import (
    Action,
    ReasonCode,
    RecommendationRecord,
    RecommendationState,
    Verdict,
    VerdictRecord,
    recommendation_id,
)
from detector.wire import scope_name
from streams.gate.access import Scope, TokenFile, digest_of, new_token
from streams.gate.board import Board
from streams.gate.executions import Executions
from streams.gate.flags import FlagDesk
from streams.gate.judging import Judge
from streams.gate.metrics import GateMetrics
from streams.gate.server import Access, Gates
from streams.gate.tls import Certificates
from streams.progress import LaneState
from streams.pulse import Pulse
from streams.settings import Settings
from streams.signing import HEADER, Signer, Verifier, new_key
from streams.topics import PULSE, create_missing
from streams.wallclock import monotonic_s, now_ms
from tests.integration.support import until

MINUTE_MS = 60_000


def verdict_of(place: tuple[str, str], **facts: Any) -> VerdictRecord:
    """A verdict on a service's release; what is not said is empty."""
    empty: dict[str, Any] = {
        "service": place[0],
        "environment": "production",
        "release": place[1],
        "component": None,
        "reasons": (),
        "sentence": "as the test says",
        "action": Action.WATCH,
        "condition": None,
        "decided_at": 0,
        "window_end": 0,
        "log_e": 0.0,
        "evidence": (),
        "affected_units": 0.0,
        "excess_bad_units": 0.0,
        "onset_ms": None,
        "top_signatures": (),
        "ambient_ratio": None,
        "competing_releases": (),
        "competing_changes": {},
        "change_needs": "",
        "inferred": False,
        "owner": None,
        "rule": "test",
        "rules_hash": "0",
        "code_version": "0",
        "offset": 0,
    }
    return msgspec.convert(empty | facts, VerdictRecord)


def rollback_of(place: tuple[str, str], **facts: Any) -> RecommendationRecord:
    """A rollback of a service's release to 1.0.0, issued just now."""
    at_ms = now_ms()
    start_ms = at_ms - MINUTE_MS
    known: dict[str, Any] = {
        "id": recommendation_id(place[0], "production", place[1], None, start_ms),
        "revision": 1,
        "action": Action.ROLLBACK,
        "state": RecommendationState.OPEN,
        "service": place[0],
        "environment": "production",
        "release": place[1],
        "component": None,
        "target": "1.0.0",
        "mode": "auto",
        "decided_at": at_ms,
        "issued_at": at_ms,
        "expires_at": at_ms + 10 * MINUTE_MS,
        "episode_start_ms": start_ms,
        "segment": None,
        "log_e": 9.0,
        "rate_ratio": (2.0, 3.0, 4.0),
        "expected_effect": "",
        "sentence": "it fails three times as often",
        "reasons": (next(iter(ReasonCode)),),
        "evidence_offset": 0,
        "rule": "test",
        "rules_hash": "0",
    }
    return msgspec.convert(known | facts, RecommendationRecord)


class Reply(NamedTuple):
    """What came back."""

    status: int
    headers: dict[str, str]
    text: str

    @property
    def body(self) -> Any:
        """The JSON in it."""
        return json.loads(self.text)


class Place:
    """Topics of workers, and gates that read them in this process.

    Parameters
    ----------
    bootstrap, prefix : str, str
        Kafka, and the first part of the topics' names.
    folder : Path
        Where keys and tokens go.
    """

    def __init__(self, bootstrap: str, prefix: str, folder: Path) -> None:
        self.settings = Settings(
            kafka=bootstrap, prefix=prefix, group=prefix, partitions=2
        )
        create_missing(self.settings)
        self.folder = folder
        secret, public = new_key()
        (folder / "gating.key").write_bytes(secret)
        (folder / "gating.pub").write_bytes(public)
        self.verifier = Verifier.load([folder / "gating.pub"])
        self.signer = Signer.load([folder / "gating.key"])
        self._producer: Any = KafkaProducer(
            bootstrap_servers=bootstrap.split(","), acks="all"
        )
        self.tokens = {str(scope): new_token() for scope in Scope}
        self.token_file = folder / "gates.tokens"
        self.write_tokens()

    def write_tokens(self, *more: str) -> None:
        """A token for each scope, and further lines."""
        lines = [f"{s} {s} {digest_of(t).hex()}" for s, t in self.tokens.items()]
        self.token_file.write_text("\n".join([*lines, *more]))

    def close(self) -> None:
        """Disconnect."""
        self._producer.close()

    def pulse(self) -> None:
        """All partitions are watched, and read up to now."""
        for number in range(self.settings.partitions):
            told = Pulse(number, "w", 1, LaneState.READY, "", 0, now_ms())
            self._write(PULSE, str(number).encode(), msgspec.json.encode(told))
        self._producer.flush()

    def judge(self, place: tuple[str, str], verdict: Verdict) -> None:
        """A worker has said so; regressed comes with a rollback."""
        wanted = rollback_of(place) if verdict is Verdict.REGRESSED else None
        found = verdict_of(
            place, verdict=verdict, recommendation_id=wanted.id if wanted else None
        )
        self.verdict(found)
        if wanted is not None:
            self.recommend(wanted)

    def verdict(self, found: VerdictRecord, *, flush: bool = True) -> None:
        """A worker has said this of a release."""
        place = found.service, found.environment, found.release, found.component
        key = scope_name(*place).encode()
        self._write("verdicts", key, msgspec.json.encode(found))
        if flush:
            self._producer.flush()

    def recommend(self, wanted: RecommendationRecord, *, flush: bool = True) -> None:
        """A worker has recommended this, signed."""
        topic, value = (
            self.settings.topic("recommendations"),
            msgspec.json.encode(wanted),
        )
        signature = self.signer.header(topic, wanted.id.encode(), value)
        self.put(wanted.id.encode(), value, signature)
        if flush:
            self._producer.flush()

    def put(self, key: bytes, value: bytes | None, signature: bytes) -> None:
        """Somebody has written this into the topic of recommendations."""
        self._write("recommendations", key, value, [(HEADER, signature)])

    def _write(
        self, name: str, key: bytes, value: bytes | None, headers: Any = ()
    ) -> None:
        self._producer.send(
            self.settings.topic(name), value, key=key, headers=list(headers)
        )

    @contextmanager
    def served(
        self,
        *,
        stopped_here: Callable[[], Ruling | None] = lambda: None,
        flags: Path | None = None,
        **access: Any,
    ) -> Iterator[Served]:
        """Gates in a thread of their own, ready to answer."""
        served = Served(self, access, stopped_here, flags)
        try:
            served.start()
            yield served
        finally:
            served.stop()


class Served:
    """Gates in a thread with a loop, as a process would have them.

    Parameters
    ----------
    place : Place
        Which topics they read.
    access : dict
        Fields of ``Access``; a token file is set unless it says otherwise.
    stopped_here : callable
        The kill switch of this machine.
    flags : Path or None
        A file of flags to serve.
    """

    def __init__(
        self,
        place: Place,
        access: Mapping[str, Any],
        stopped_here: Callable[[], Ruling | None],
        flags: Path | None = None,
    ) -> None:
        self._place = place
        known = {"tokens": TokenFile(place.token_file), "rate_per_s": 10_000.0}
        self.access = Access(**known | dict(access))
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self.executions = Executions(place.settings, monotonic_s=monotonic_s)
        self.board = Board(place.settings, now_ms=now_ms)
        self.judge = Judge(
            self.board,
            self.executions,
            place.verifier,
            now_ms=now_ms,
            stopped_here=stopped_here,
        )
        self.flags = FlagDesk(flags, self.judge.ledger) if flags else None
        self.gates: Gates | None = None
        self.port = 0

    def start(self) -> None:
        """Listen, and read all topics once."""
        self._thread.start()
        self._run(self._listen())
        self.board.start()
        until(lambda: not self.board.problem, what="the board has read all", limit_s=60)

    def stop(self) -> None:
        """Leave nothing behind."""
        self._run(self._end())
        self.board.stop()
        self.executions.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _listen(self) -> None:
        self.gates = Gates(
            self.judge,
            self.access,
            host="127.0.0.1",
            port=0,
            metrics=GateMetrics(self.judge, now_ms=now_ms),
            monotonic_s=monotonic_s,
            flags=self.flags,
        )
        await self.gates.start()
        self.port = self.gates.port

    async def _end(self) -> None:
        if self.gates is not None:
            await self.gates.stop()
        # Connections that were cut are still being ended.
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for one in others:
            one.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def _run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    @property
    def tokens(self) -> dict[str, str]:
        """By scope."""
        return self._place.tokens

    @property
    def url(self) -> str:
        """Where it listens."""
        scheme = "https" if self.access.certificates else "http"
        return f"{scheme}://127.0.0.1:{self.port}"

    def ask(
        self,
        path: str,
        body: object = None,
        *,
        token: str | None = Scope.ADMIN.value,
        tls: ssl.SSLContext | None = None,
        method: str = "",
        **headers: str,
    ) -> Reply:
        """Ask with the token of that name, or none; a body is posted."""
        made: http.client.HTTPConnection
        if tls is not None:
            made = http.client.HTTPSConnection(
                "127.0.0.1", self.port, timeout=30, context=tls
            )
        else:
            made = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        if token is not None:
            known = self._place.tokens.get(token, token)
            headers = {"Authorization": f"Bearer {known}"} | headers
        sent = body if body is None or isinstance(body, bytes) else json.dumps(body)
        try:
            made.request(
                method or ("GET" if body is None else "POST"), path, sent, headers
            )
            answer = made.getresponse()
            text = answer.read().decode()
            return Reply(answer.status, dict(answer.headers), text)
        finally:
            made.close()


def certificates(cert: tuple[Path, Path], clients: Path | None = None) -> Certificates:
    """A certificate with its key."""
    return Certificates(*cert, clients)
