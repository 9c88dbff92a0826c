"""Memory: the past that is remembered ends, and so does what is derived from it."""

from __future__ import annotations

from detector import state
from detector.engine import Partition
from detector.scope import ScopeKey
from tests.unit.detector.traffic import START_MS, Event, Log, rules

HOUR_MS = 3_600_000
RELEASE_HOURS, RELEASES = 72, 4
"""A release follows the other after so many windows; these take turns."""

HOURLY = rules("window_s: 3600", "grace_s: 30", "persistence_s: 3600")


def hour(number: int) -> list[Event]:
    """What a service sends in an hour: a control, a candidate, a few failures."""
    turn = number // RELEASE_HOURS
    newest, before = turn % RELEASES, (turn - 1) % RELEASES
    common: Event = {
        "ts": START_MS + number * HOUR_MS,
        "service": "shop",
        "window_s": 3600,
    }
    found: list[Event] = []
    if number % RELEASE_HOURS == 0:
        found.append(
            {
                "kind": "deploy",
                "ts": common["ts"],
                "service": "shop",
                "release": f"1.{newest}",
            }
        )
    for release, sessions in ((f"1.{before}", 700), (f"1.{newest}", 300)):
        for system in ("android", "ios"):
            arm = {**common, "release": release, "attrs": {"os": system}}
            counts = {"count": sessions, "sessions": sessions}
            found.append({"kind": "usage", **arm, **counts})
            counts = {"count": 3, "sessions": 3, "signature": f"E{number % 40}: x"}
            found.append({"kind": "error", **arm, **counts})
    return found


def size_after(partition: Partition, days: range) -> int:
    """Bytes of the whole state after so many further days."""
    for number in range(days.start * 24, days.stop * 24):
        log = Log().add(START_MS + (number + 1) * HOUR_MS + 500, *hour(number))
        (record,) = log.records
        partition.apply([record._replace(offset=partition.next_offset)])
        state.dirty_blocks(partition)
        state.mark_clean(partition)
    return sum(map(len, state.all_blocks(partition).values()))


def test_remembered_past_reaches_a_plateau() -> None:
    """Once as much is remembered as is kept, further days cost nothing:
    neither in the state nor in what is derived beside it."""
    partition = Partition(0, HOURLY)
    filling = size_after(partition, range(4))
    full = size_after(partition, range(4, 20))
    later = size_after(partition, range(20, 20 + RELEASES * RELEASE_HOURS // 24))
    assert filling < 0.7 * full
    assert later < 1.01 * full
    scope = partition.scopes[ScopeKey("shop", "production")]
    assert len(scope.registry.releases) > len(scope.watches)
    assert partition.caches[scope.key].keys() <= scope.watches.keys()
