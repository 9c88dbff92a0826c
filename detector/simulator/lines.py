"""Drawn counts into records of the envelope, in the order they arrive.

One batch for each window, as if the edge forwarded once a window. What is late
waits for a later batch; what is repeated comes again in this one or the next.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from detector.simulator.draw import Counts, Drawn
from detector.simulator.rollout import Rollout, deploy_record
from detector.simulator.world import World

Record = dict[str, Any]
Fields = dict[str, int | float | list[int] | list[float] | dict[str, int]]

ARRIVAL_LAG_MS = 2_000
LAUNCH_PARTS = 4
"""Crashes of a window that wait for the next launch come in so many portions."""


class Emitter:
    """The records of one run, batch by batch.

    Parameters
    ----------
    rng : numpy.random.Generator
        For what happens on the way; counts are drawn before.
    """

    def __init__(
        self, world: World, drawn: Drawn, rollout: Rollout, rng: np.random.Generator
    ) -> None:
        self.world, self.drawn, self.rng = world, drawn, rng
        self.service = world.service
        self.window_ms = self.service.window_s * 1000
        self.names = [name for name, _ in self.service.olds] + [self.service.candidate]
        self._attrs = [dict(s.attrs) for s in self.service.strata]
        self._rollout = rollout
        self._present = world.share > 0
        self._waiting: dict[int, list[Record]] = {}
        self._seq: dict[tuple[int, int], int] = {}
        bounds = self.service.latency
        self._bounds = list(bounds.bounds_ms) if bounds else []

    def batches(self, name: str) -> Iterator[tuple[int, list[Record]]]:
        """Arrival time and records of each window, under a service's name."""
        deploys = self._deploys()
        for index in range(self.world.windows):
            now_ms = self.arrival_ms(index)
            fresh = [*deploys.pop(index, []), *self._window(index)]
            due = self._waiting.pop(index, []) + fresh
            for record in due:
                record["service"] = name
                record["received_at"] = now_ms
            yield now_ms, due

    def arrival_ms(self, index: int) -> int:
        """When the batch of a window arrives."""
        end_ms = self.world.start_ms + (index + 1) * self.window_ms
        return end_ms + ARRIVAL_LAG_MS

    def _deploys(self) -> dict[int, list[Record]]:
        found: dict[int, list[Record]] = {}
        for step in self._rollout.deploys(self.service.strata):
            at = self.world.index(step.after_min)
            ts = self.world.start_ms + at * self.window_ms
            record = deploy_record(
                step,
                self._rollout.strategy,
                ts=ts,
                release=self.service.candidate,
                predecessor=self.names[0],
                id=f"deploy-{at}",
            )
            found.setdefault(at, []).append(record)
        return found

    def _window(self, index: int) -> list[Record]:
        """Lines of a window that come with it; later ones are put aside."""
        records: list[Record] = []
        for release in range(len(self.names)):
            strata = np.flatnonzero(self._present[release, index]).tolist()
            senders = self._senders(release) if strata else []
            for sender, runs in enumerate(senders):
                for run in range(runs):
                    if run:
                        self._seq[release, sender] = -1
                    part = (sender, sum(senders[:sender]) + run, sum(senders))
                    for stratum in strata:
                        records += self._cell((release, index, stratum), part)
        return self._sent(records, index)

    def _senders(self, release: int) -> list[int]:
        """How many processes each sender was in this window: 2 after a restart.

        One that has just begun does not restart: its numbers would come twice in
        a window, and nobody could tell its lines from copies.
        """
        feed = self.world.feed
        if feed.restart_chance == 0.0:
            return [1] * feed.senders
        most = len(self._attrs) * (len(self.drawn.signatures) + 8)
        again = self.rng.random(feed.senders) < feed.restart_chance
        return [
            1 + int(wanted and self._seq.get((release, sender), -1) >= most)
            for sender, wanted in enumerate(again)
        ]

    def _cell(
        self, cell: tuple[int, int, int], part: tuple[int, int, int]
    ) -> Iterator[Record]:
        """Lines of one release and stratum by one sender."""
        drawn, counting = self.drawn, self.service.counting
        usage: Fields = {"count": self._part(drawn.requests, cell, part)}
        if counting != "requests":
            source = drawn.sessions if counting == "sessions" else drawn.users
            usage[counting] = self._part(source, cell, part)
        yield self._line("usage", cell, part, usage)
        for number, signature in enumerate(drawn.signatures):
            failed = self._part(drawn.bad[..., number], cell, part)
            if not failed:
                continue
            # One event for each failure, the surplus spread like the failures.
            events = int(drawn.events[(*cell, number)])
            whole = max(int(drawn.bad[(*cell, number)]), 1)
            error: Fields = {"count": round(events * failed / whole)}
            if counting == "sessions":
                error["sessions"] = failed
            elif counting == "users":
                error["users"] = min(failed, int(drawn.bad_users[(*cell, number)]))
            yield self._line("error", cell, part, error, signature=signature)
        yield from self._continuous(cell, part)

    def _continuous(
        self, cell: tuple[int, int, int], part: tuple[int, int, int]
    ) -> Iterator[Record]:
        """Funnel, durations and feedback of a cell, by its first sender alone."""
        if part[1]:
            return
        for number, (step, _) in enumerate(self.service.steps):
            came = int(self.drawn.came[(*cell, number)])
            passed = int(self.drawn.passed[(*cell, number)])
            outcomes = {"ok": passed, "cancelled": came - passed}
            steps: Fields = {"count": came, "outcomes": outcomes}
            yield self._line("usage", cell, part, steps, step=step, unit="session")
        if self.drawn.durations is not None:
            counts = self.drawn.durations[cell].tolist()
            yield self._line(
                "latency", cell, part, {"counts": counts, "bounds_ms": self._bounds}
            )
        voices = int(self.drawn.voices[cell])
        if voices:
            total = float(self.drawn.scores[cell])
            fields: Fields = {"count": voices, "score_sum": total}
            yield self._line("feedback", cell, part, fields)

    def _part(
        self, counts: Counts, cell: tuple[int, int, int], part: tuple[int, int, int]
    ) -> int:
        """A sender's part of a count: whole shares, the rest to turns of senders."""
        total, (_, number, parts) = int(counts[cell]), part
        if parts == 1:
            return total
        turn = (number + cell[1]) % parts
        return total // parts + (turn < total % parts)

    def _line(
        self,
        kind: str,
        cell: tuple[int, int, int],
        part: tuple[int, int, int],
        fields: Fields,
        **more: str,
    ) -> Record:
        release, index, stratum = cell
        feed = self.world.feed
        place = (release, part[0])
        self._seq[place] = seq = self._seq.get(place, -1) + 1
        shift_ms = int(feed.skew_s[release] * 1000)
        ts = self.world.start_ms + index * self.window_ms + shift_ms
        record: Record = {
            "kind": kind,
            "ts": ts,
            "window_s": self.service.window_s,
            "release": self.names[release],
            "attrs": self._attrs[stratum],
            "sender": f"{self.names[release]}-{part[0]}",
            "seq": seq,
            **fields,
            **more,
        }
        if shift_ms:
            record["sent_at"] = self.arrival_ms(index) + shift_ms
        keep = feed.keep_errors if kind == "error" else feed.keep_usage
        if keep[release, index] < 1.0:
            record["sample_rate"] = float(keep[release, index])
        return record

    def _sent(self, records: list[Record], index: int) -> list[Record]:
        """What of a window's lines arrives with it; losses and copies included."""
        feed = self.world.feed
        if feed.launch_delay_s:
            records = [r for line in records for r in self._launches(line, index)]
        if feed.lost or feed.late:
            records = [r for r in records if self._arrives(r, index)]
        if feed.repeated:
            copies = [dict(r) for r in records if self.rng.random() < feed.repeated]
            self._waiting.setdefault(index + 1, []).extend(copies[::2])
            records = records + copies[1::2]
        return records

    def _arrives(self, record: Record, index: int) -> bool:
        """Whether a line comes with its window; a late one is put aside."""
        feed, kind = self.world.feed, record["kind"]
        release = self.names.index(record["release"])
        stratum = self._attrs.index(record["attrs"])
        lost = feed.lost.get(kind)
        if lost is not None and self.rng.random() < lost[release, index, stratum]:
            return False
        late = feed.late.get(kind)
        if late is None or self.rng.random() >= late[release]:
            return True
        wait_ms = self.rng.exponential(feed.late_s) * 1000
        self._waiting.setdefault(index + 1 + int(wait_ms // self.window_ms), []).append(
            record
        )
        return False

    def _launches(self, record: Record, index: int) -> Iterator[Record]:
        """A crash line in portions, each at the time of its users' next launch."""
        if record["kind"] != "error":
            yield record
            return
        fields = [f for f in ("count", "sessions", "users") if f in record]
        chances = np.full(LAUNCH_PARTS, 1.0 / LAUNCH_PARTS)
        waits_ms = self.rng.exponential(
            self.world.feed.launch_delay_s * 1000, LAUNCH_PARTS
        )
        split = {f: self.rng.multinomial(record[f], chances).tolist() for f in fields}
        place = (self.names.index(record["release"]), 0)
        for number, wait_ms in enumerate(waits_ms.tolist()):
            portion = record | {f: split[f][number] for f in fields}
            if not any(portion[f] for f in fields):
                continue
            portion["count"] = max(portion[f] for f in fields)
            self._seq[place] = portion["seq"] = self._seq[place] + 1
            later = int(wait_ms // self.window_ms)
            if later == 0:
                yield portion
            else:
                self._waiting.setdefault(index + later, []).append(portion)
