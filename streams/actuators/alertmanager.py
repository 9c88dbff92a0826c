"""Pushes alerts to Alertmanagers, as Prometheus does, where a scrape is too slow.

An alert is its labels: a value in one would make a new alert each time. Alertmanager
forgets what is not said again, so all are said again to every peer, each with the time
at which it ends unless it is; and those that ended are, for a quarter of an hour.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from yarl import URL

from detector.rulefile.kinds import Choice, Integer, Text
from detector.rulefile.shapes import Listing
from detector.verdicts import STANDING_STATES, Action, RecommendationRecord
from streams.actuators.keys import Address, Spec, Table
from streams.actuators.parcel import MINUTE, Parcel, Result, Word, drilled
from streams.actuators.receiver import Context, Kind, Receiver
from streams.actuators.webhook import iso
from streams.outgoing import NotSent, Unanswered

ALERT = "ReleaseRegression"
DRILL = "HypercareDrill"
PATH = "/api/v2/alerts"
BATCH = 64
INTERVAL_S = 30
ENDS_AFTER = 4
RESOLVED_MS = 15 * MINUTE
GRACE_MS = 5 * MINUTE
"""How long after its expiry a recommendation is still believed to stand: another
worker may be taking it over."""

TEXT_CHARS_MAX = 1_000
LABEL = r"(?!__)[a-zA-Z_][a-zA-Z0-9_]{0,63}"
SHADOW = "shadow"


class Alertmanager:
    """Knows its peers, and what to say to them.

    Parameters
    ----------
    receiver : Receiver
        Its plan has ``urls`` of all peers, ``severity``, ``labels``, ``interval_s``.
    """

    def __init__(self, receiver: Receiver) -> None:
        plan = receiver.plan
        self._plan = plan
        self.interval_s: int = plan["interval_s"]
        urls = [one.fill({}).rstrip("/") for one in plan["urls"]]
        self.peers = [URL(one + PATH, encoded=True) for one in urls]
        # One way out for each: a peer that hangs delays no other.
        self._outs = {peer: receiver.outgoing() for peer in self.peers}

    def obstacle(self, parcel: Parcel) -> str:
        """Nothing stands in its way."""
        return ""

    async def deliver(self, parcel: Parcel, now_ms: int) -> Result:
        """Alerts stand and are pushed; none is delivered once."""
        return Result(Word.DONE)

    def body(self, standing: Iterable[Parcel], now_ms: int) -> list[bytes]:
        """What is said to a peer now, 64 alerts at a time."""
        alerts = [
            alert for one in standing if (alert := self._alert(one, now_ms)) is not None
        ]
        batches = [alerts[i : i + BATCH] for i in range(0, len(alerts), BATCH)]
        return [msgspec.json.encode(batch) for batch in batches]

    async def push(self, peer: URL, bodies: Iterable[bytes]) -> str:
        """Say it to one peer; why not, or ""."""
        problem = ""
        for body in bodies:
            try:
                reply = await self._outs[peer].send(
                    "POST", peer, {"Content-Type": "application/json"}, body
                )
            except (NotSent, Unanswered) as error:
                return str(error)
            if reply.status != 200:
                words = reply.body[:200].decode("utf-8", "replace")
                problem = f"answered {reply.status}: {words}"
        return problem

    async def drill(self, parcel: Parcel, now_ms: int) -> Result:
        """An alert of its own name that ends within a minute, to every peer."""
        bodies = self.body([parcel], now_ms)
        said = [(peer, await self.push(peer, bodies)) for peer in self.peers]
        problems = [f"{peer.authority}: {problem}" for peer, problem in said if problem]
        return drilled(problems, f"{len(said)} took {DRILL}, marked as a test")

    async def check(self) -> list[str]:
        """Which of its peers may not be reached."""
        found = []
        for peer in self.peers:
            try:
                await self._outs[peer].addresses(peer)
            except NotSent as error:
                found.append(str(error))
        return found

    def close(self) -> None:
        """Drop its threads."""
        for out in self._outs.values():
            out.close()

    def _alert(self, parcel: Parcel, now_ms: int) -> dict[str, Any] | None:
        record = parcel.record()
        labels = self._labels(record)
        # A label that is empty is dropped there, and alerts become one in silence.
        if not all(value and value.isprintable() for value in labels.values()):
            return None
        starts_ms = record.episode_start_ms
        ends_ms = ended_ms(parcel) or now_ms + ENDS_AFTER * self.interval_s * 1_000
        if record.test:
            ends_ms = now_ms + MINUTE
        told = {
            "summary": record.sentence,
            "effect": record.expected_effect,
            "target": record.target or "",
            "recommendation": record.id,
            "runbook_url": f"docs/runbooks/{ALERT}.md",
        }
        return {
            "labels": labels,
            "annotations": {k: v[:TEXT_CHARS_MAX] for k, v in told.items() if v},
            "startsAt": iso(starts_ms),
            # An end before its start is refused.
            "endsAt": iso(max(ends_ms, starts_ms + 1)),
        }

    def _labels(self, record: RecommendationRecord) -> dict[str, str]:
        is_urgent = record.action is not Action.INVESTIGATE
        labels = {
            **self._plan["labels"],
            "alertname": ALERT,
            "service": record.service,
            "environment": record.environment,
            "release": record.release,
            "action": record.action.value,
            "severity": self._plan["severity"] if is_urgent else "ticket",
        }
        if record.test:
            labels |= {"alertname": DRILL, "severity": "ticket", "test": "true"}
        if record.component is not None:
            labels["component"] = record.component
        return labels


def ended_ms(parcel: Parcel) -> int:
    """When the alert of a standing delivery ended; 0 while it lasts."""
    return parcel.begun_ms


def stands(record: RecommendationRecord) -> bool:
    """Whether a recommendation is an alert: live, and more than a rehearsal."""
    rehearsed = record.mode == SHADOW or record.test
    return record.state in STANDING_STATES and not rehearsed


def name_of(record: RecommendationRecord) -> str:
    """Event name of an alert: from hold to rollback is another alert."""
    return f"{record.id}.{record.action.value}"


def settle(parcels: Iterable[Parcel], now_ms: int) -> list[Parcel]:
    """End alerts whose recommendation was not issued anew; those that changed."""
    changed = []
    for one in parcels:
        if not ended_ms(one) and now_ms > one.record().expires_at + GRACE_MS:
            one.begun_ms = now_ms
            changed.append(one)
    return changed


def is_past(parcel: Parcel, now_ms: int) -> bool:
    """Whether an alert has ended so long ago that nobody has to hear it again."""
    return bool(ended_ms(parcel)) and now_ms >= ended_ms(parcel) + RESOLVED_MS


def _keys(_: Context) -> Mapping[str, Spec]:
    return {
        "urls": Spec(Listing(Address(), 16, 1)),
        "severity": Spec(Choice(("page", "ticket")), "page"),
        "labels": Spec(Table(LABEL, lambda _: Text(256)), {}),
        "interval_s": Spec(Integer(1, 60), INTERVAL_S),
    }


KIND = Kind(_keys, Alertmanager)
