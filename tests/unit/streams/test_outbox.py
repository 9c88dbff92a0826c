"""The outbox: order, durability, and what a restored one sends."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.records import Output
from streams.outbox import DESTINATIONS, LETTERS, Outbox
from streams.topics import TOPICS
from tests.unit.streams.memory import MemoryEmitter

outputs = st.lists(
    st.builds(
        Output,
        topic=st.sampled_from(sorted(DESTINATIONS)),
        key=st.text(max_size=5),
        value=st.binary(max_size=8),
        id=st.text(min_size=1, max_size=5),
    ),
    max_size=20,
)


@given(outputs)
async def test_encoding_keeps_everything(pending: list[Output]) -> None:
    """What was pending comes back in the same order, ready to be sent; dead letters
    leave behind what was decided."""
    outbox = Outbox()
    outbox.add(pending)
    restored, emitter = Outbox.decode(outbox.encode()), MemoryEmitter()
    assert await restored.send(emitter) == len(pending)
    assert emitter.sent == sorted(pending, key=lambda o: o.topic == LETTERS)


async def test_dead_letters_hold_nothing_back() -> None:
    """A topic of dead letters that takes nothing keeps its own: what was decided
    leaves once, and is not sent again with every try."""
    outbox, emitter = Outbox(), MemoryEmitter()
    topics = (LETTERS, "verdicts", LETTERS, "recommendations")
    outbox.add([Output(t, "k", b"", str(n)) for n, t in enumerate(topics)])
    outbox.mark_durable(4)
    emitter.refusing = {LETTERS}
    for _ in range(3):
        with pytest.raises(ConnectionError):
            await outbox.send(emitter)
    assert (emitter.ids, len(outbox), outbox.durable) == (["1", "3"], 2, 2)
    emitter.refusing = set()
    assert await outbox.send(emitter) == 2
    assert emitter.ids == ["1", "3", "0", "2"]


async def test_only_durable_outputs_leave() -> None:
    """Outputs added after the snapshot was encoded wait for the next one."""
    outbox, emitter = Outbox(), MemoryEmitter()
    outbox.add([Output("verdicts", "k", b"", "1")])
    outbox.mark_durable(1)
    outbox.add([Output("verdicts", "k", b"", "2")])
    await outbox.send(emitter)
    assert (emitter.ids, len(outbox)) == (["1"], 1)


async def test_failed_sending_keeps_outputs() -> None:
    """Outputs that were not acknowledged stay, in order."""
    outbox, emitter = Outbox(), MemoryEmitter()
    outbox.add([Output("verdicts", "k", b"", str(n)) for n in range(3)])
    outbox.mark_durable(3)
    emitter.failing = True
    with pytest.raises(ConnectionError):
        await outbox.send(emitter)
    emitter.failing = False
    await outbox.send(emitter)
    assert emitter.ids == ["0", "1", "2"]


def test_every_destination_is_a_topic() -> None:
    """Each logical name leads to topics of the topic table."""
    known = {spec.name for spec in TOPICS}
    assert {name for names in DESTINATIONS.values() for name in names} <= known
