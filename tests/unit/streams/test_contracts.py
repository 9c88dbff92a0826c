"""Contracts with Faust, aiokafka, mode and kafka-python: what may not change unread."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

import pytest
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.memory_records import MemoryRecords
from faust.types import TP

from streams import bounded
from streams.app import HypercareApp, create_app
from streams.pins import ATTRIBUTES, PINNED
from streams.settings import Settings
from tests.unit.streams import contracts
from tests.unit.streams.batches import batch_of
from tests.unit.streams.rig import LOG

UPDATE = "read it again, then run python -m tests.unit.streams.contracts"


@pytest.mark.parametrize("name", contracts.pinned())
def test_pinned_method_is_unchanged(name: str) -> None:
    """A method this project stands on takes the same parameters and is, to the
    letter, what it was when it was read."""
    signature, fingerprint = contracts.known()[name]
    found = contracts.installed(name)
    assert found[0] == signature, f"{name} takes other parameters: {UPDATE}"
    assert found[1] == fingerprint, f"{name} does something else: {UPDATE}"


def test_known_contracts_are_the_pinned() -> None:
    """The list of pinned methods and the file of fingerprints name the same."""
    assert sorted(contracts.known()) == contracts.pinned()
    assert len(set(PINNED)) == len(PINNED)


def test_every_override_is_pinned() -> None:
    """Whatever takes the place of a library's method has that method pinned."""
    names = set(contracts.pinned())
    found = list(contracts.overridden())
    assert len(found) >= 15
    assert [pair for pair in found if pair[1] not in names] == []


def test_every_foreign_private_is_pinned() -> None:
    """A private name that a module does not define itself is one of the pinned."""
    names = {method for _, method in PINNED} | set(ATTRIBUTES)
    found = list(contracts.foreign_privates())
    assert len(found) >= 10
    assert [pair for pair in found if pair[1] not in names] == []


@pytest.mark.parametrize(
    ("changed", "same"),
    [
        ("def f(self, timeout: int) -> int:\n    return timeout + 1", [True, False]),
        ("def f(self, timeout, more=0) -> int:\n    return timeout", [False, False]),
        ("async def f(self, timeout: int) -> int:\n    return timeout", [False, False]),
    ],
    ids=["body", "parameter", "async"],
)
def test_changed_method_is_noticed(changed: str, same: list[bool]) -> None:
    """Another body or another parameter gives another contract."""
    old = "def f(self, timeout: int) -> int:\n    return timeout"
    (before, after) = (contract(text) for text in (old, changed))
    assert [a == b for a, b in zip(before, after, strict=True)] == same


def contract(text: str) -> list[str]:
    """Return signature and fingerprint of the one function in a text."""
    node: Any = ast.parse(text).body[0]
    return [
        contracts.signature_of(node),
        contracts.fingerprint_of(node, text.splitlines()),
    ]


async def test_consumer_has_the_attributes() -> None:
    """The private attributes that are read exist on Faust's own consumer."""
    app: HypercareApp = create_app(Settings(demo=True))
    consumer: Any = app.consumer
    try:
        assert consumer._read_offset[TP(LOG, 0)] is None
        assert consumer._thread.consumer is consumer
        assert callable(consumer._thread.call_thread)
    finally:
        consumer._thread.thread_loop.close()


CODES = {"gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}


@pytest.mark.parametrize("name", CODES)
def test_batches_are_opened_by_our_decoder(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library's reader, compiled or not, opens a batch with the function that
    is put into its module, not with one it has kept."""
    module = bounded.sys.modules[DefaultRecordBatch.__module__]
    real: Callable[[Any], bytes] = bounded.DECODERS[f"{name}_decode"]
    seen: list[int] = []

    def decode(payload: Any) -> bytes:
        seen.append(len(payload))
        return real(payload)

    monkeypatch.setattr(module, f"{name}_decode", decode)
    batch = MemoryRecords(batch_of(b"a" * 5_000, CODES[name])).next_batch()
    (record,) = list(batch)
    assert record.value == b"a" * 5_000
    assert len(seen) == 1
