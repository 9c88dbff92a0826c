"""The fold: claims, outcomes and orders in their order, and what may be done now.

Nothing here depends on who reads: two readers that have read up to the same offset
agree on every ruling, so the first claim in the log gets the lease, whatever else
happens. A claim carries the recommendation itself; its freshness and revision are
judged at the time at which Kafka appended the claim. Its signature is checked by who
claims, before that (``acting.trust``): readers may know different keys and must agree.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from acting.answers import Answer, Ruling, Why
from acting.interlocks import refusal
from acting.known import DAY_MS, Done, Drilled, Known, Lease, LeaseState, Request
from acting.pingpong import lift
from acting.pingpong import note as note_ping_pong
from acting.records import (
    APPROVALS_MAX,
    Calendar,
    Claim,
    Drill,
    End,
    Mode,
    Order,
    Outcome,
    Record,
    Word,
)
from acting.switches import note_executed, restore, withdraw
from acting.trust import recommendation_in
from detector.verdicts import RecommendationRecord

RULINGS_KEPT = 10_000
KEPT_MS = 2 * DAY_MS
"""Longer than the longest limit looks back."""

NUMBERS = frozenset(map(str, range(1, APPROVALS_MAX + 1)))

ENDS = {
    End.EXECUTED: LeaseState.EXECUTED,
    End.FAILED: LeaseState.FAILED,
    End.RELEASED: LeaseState.RELEASED,
}


@dataclass(slots=True)
class Ledger:
    """All that was claimed, done and ordered.

    Attributes
    ----------
    known : Known
        What the interlocks look at.
    rulings : dict
        Of each claim by its token; the newest are kept.
    """

    known: Known = field(default_factory=Known)
    rulings: dict[str, Ruling] = field(default_factory=dict)

    def take(self, record: Record, at_ms: int) -> Ruling | None:
        """Apply the next record, appended at a time; gives the ruling of a claim."""
        if isinstance(record, Claim):
            # Written twice by a client that tried again: the first one counts.
            if record.token not in self.rulings:
                self.rulings[record.token] = self._claim(record, at_ms)
                self._forget(at_ms)
            return self.rulings[record.token]
        if isinstance(record, Outcome):
            self._end(record, at_ms)
        elif isinstance(record, Calendar):
            self.known.calendars[record.service] = record
            if not record.windows:
                del self.known.calendars[record.service]
        elif isinstance(record, Drill):
            stopped = self.rulings.get(record.token)
            if stopped is not None and stopped.why is Why.DRILL:
                self.known.drills[record.kind] = Drilled(record.actor, at_ms)
        else:
            self._obey(record, at_ms)
        return None

    def _claim(self, claim: Claim, at_ms: int) -> Ruling:
        wanted = self._read(claim)
        if isinstance(wanted, Ruling):
            return wanted
        request = Request(claim, wanted, at_ms)
        refused = refusal(self.known, request)
        if refused is not None:
            note_ping_pong(self.known, request, refused)
            return refused
        self._grant(request)
        return Ruling(Answer.ACT, Why.GRANTED, _granted(wanted))

    def _read(self, claim: Claim) -> RecommendationRecord | Ruling:
        """The recommendation in a claim; notes the newest revision of it."""
        wanted = recommendation_in(claim.key, claim.value)
        if isinstance(wanted, Ruling):
            return wanted
        newest = self.known.newest.get(wanted.id)
        if newest is None or _age(wanted) > _age(newest):
            self.known.newest[wanted.id] = wanted
        return wanted

    def _grant(self, request: Request) -> None:
        claim, wanted, at_ms = request
        until_ms = at_ms + claim.lease_s * 1000
        self.known.leases[wanted.id, wanted.action] = Lease(
            claim.token, claim.holder, wanted, at_ms, until_ms
        )
        self.known.done.append(Done(wanted, at_ms))

    def _end(self, outcome: Outcome, at_ms: int) -> None:
        for lease in self.known.leases.values():
            if lease.token != outcome.token or lease.state is not LeaseState.HELD:
                continue
            lease.state = ENDS[outcome.end]
            lease.ended_ms, lease.detail = at_ms, outcome.detail
            if lease.state is LeaseState.EXECUTED:
                note_executed(self.known.switched, lease.recommendation, at_ms)
            if lease.state is LeaseState.RELEASED:
                begun = Done(lease.recommendation, lease.granted_ms)
                self.known.done.remove(begun)

    def _obey(self, order: Order, at_ms: int) -> None:
        known = self.known
        match order.word:
            case Word.STOP:
                known.stopped = order
            case Word.RESUME:
                known.stopped = None
            case Word.FREEZE:
                known.frozen[order.service] = order
            case Word.THAW:
                known.frozen.pop(order.service, None)
                lift(known, order.service, at_ms)
            case Word.MODE:
                if order.value in list(Mode):
                    known.modes[order.service] = Mode(order.value)
                else:
                    known.modes.pop(order.service, None)
            case Word.APPROVE:
                what = order.recommendation_id, order.value
                given = known.approvals.setdefault(what, {})
                given[order.actor] = at_ms
            case Word.APPROVALS:
                if order.value in NUMBERS:
                    known.asked[order.service] = int(order.value)
                else:
                    known.asked.pop(order.service, None)
            case Word.REJECT:
                known.rejected[order.recommendation_id] = order
            case Word.CALM:
                known.calmed_ms = at_ms
            case Word.WITHDRAW:
                withdraw(known.switched, order, at_ms)
            case Word.RESTORE:
                restore(known.switched, order)

    def _forget(self, at_ms: int) -> None:
        """Keep what can still matter."""
        known, since_ms = self.known, at_ms - KEPT_MS
        known.done = [one for one in known.done if one.at_ms >= since_ms]
        thawed = {n: ms for n, ms in known.thawed_ms.items() if ms >= since_ms}
        known.thawed_ms = thawed
        while len(self.rulings) > RULINGS_KEPT:
            del self.rulings[next(iter(self.rulings))]
        if len(known.newest) > RULINGS_KEPT:
            old = [n for n, one in known.newest.items() if one.expires_at < since_ms]
            for name in old:
                del known.newest[name]
                known.rejected.pop(name, None)
                for key in [k for k in known.leases if k[0] == name]:
                    del known.leases[key]
                for key in [k for k in known.approvals if k[0] == name]:
                    del known.approvals[key]


def _age(one: RecommendationRecord) -> tuple[int, int]:
    return one.revision, one.issued_at


def _granted(wanted: RecommendationRecord) -> str:
    to = f" to {wanted.target}" if wanted.target else ""
    what = wanted.release + (f"/{wanted.component}" if wanted.component else "")
    return f"{wanted.action} {wanted.service} {what}{to}: the lease is yours"
