"""The combiner's process: what it needs, and what it tells of itself."""

from __future__ import annotations

from collections import Counter

import pytest

from detector.records import LogRecord
from streams.app import create_app
from streams.combining import CombinerCores, create_combiner
from streams.history import DamagedState
from streams.progress import Counted
from streams.settings import Settings, SettingsError

KEY = b"0123456789abcdef"
USAGE = b'{"kind":"usage","ts":1000,"service":"a","release":"1","session":"s"}'


def cores(counts: Counter[Counted]) -> CombinerCores:
    def count(key: Counted, n: int) -> None:
        counts[key] += n

    return CombinerCores(KEY, "x.hot", 4, count)


def test_combiner_wants_a_hot_topic() -> None:
    """Without partitions for it nothing is built, and the variable is named."""
    with pytest.raises(SettingsError, match="HYPERCARE_HOT_PARTITIONS is 0"):
        create_combiner(Settings(identity_key=KEY))


def test_combiner_wants_a_lasting_key() -> None:
    """A random key of a demonstration will not do: sessions would begin again."""
    with pytest.raises(SettingsError, match="HYPERCARE_IDENTITY_KEY"):
        create_combiner(Settings(hot_partitions=4, demo=True))


def test_combiner_reads_its_own_topics() -> None:
    """It has a group of its own, reads the hot topic and takes no ingress."""
    settings = Settings(hot_partitions=4, identity_key=KEY, prefix="x", group="g")
    app = create_combiner(settings)
    assert app.conf.id == "g-combiner"
    assert app.lanes.topics == {"x.hot"}
    assert app.lanes.settings.partitions == 4
    assert not app.agents


def test_combiner_says_nothing_of_the_log() -> None:
    """A pulse of a hot partition would be taken for one of the log."""
    settings = Settings(hot_partitions=2, identity_key=KEY)
    assert create_combiner(settings).pulses() is None
    assert create_app(settings).pulses() is not None


def test_what_became_of_events_is_counted() -> None:
    """Combined and refused events are told by topic, result and reason."""
    counts: Counter[Counted] = Counter()
    core = cores(counts).new(0)
    core.apply([LogRecord(0, 2_000, None, USAGE), LogRecord(1, 2_000, None, b"{")])
    told = {(key.topic, key.result, key.reason): n for key, n in counts.items()}
    assert told["x.hot", "combined", ""] == 1
    assert sum(n for (_, word, _), n in told.items() if word == "rejected") == 1
    assert core.wants_tick(60_000)


def test_damaged_state_is_told_apart() -> None:
    """Shards without their head are damage, as lanes know it."""
    with pytest.raises(DamagedState, match="block combiner is missing"):
        cores(Counter()).restore(0, {}, 5)
