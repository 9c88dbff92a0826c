"""Memory that is free goes back to the system."""

from __future__ import annotations

import ctypes
import gc
import re
import sys
import weakref
from pathlib import Path

import pytest

from detector.records import LogRecord
from streams import heap

BLOCKS, BYTES = 20_000, 4_000
KEPT_EVERY = 500
"""Distance of what stays: between two of them hundreds of pages are free."""

FETCHES, FETCHED = 200, 2_000

RESIDENT = re.compile(r"VmRSS:\s+(\d+) kB")


def resident_mb() -> float:
    """Resident size of this process."""
    found = RESIDENT.search(Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")
def test_holes_in_the_heap_are_given_back() -> None:
    """Blocks that are freed between others no longer count as resident."""
    trim = heap.trimmer()
    if trim is None:
        pytest.skip("a C library without malloc_trim")
    trim()
    blocks = [bytearray(BYTES) for _ in range(BLOCKS)]
    kept = blocks[::KEPT_EVERY]
    blocks.clear()
    before_mb = resident_mb()
    trim()
    freed_mb = before_mb - resident_mb()
    assert freed_mb > 0.8 * BLOCKS * BYTES / 2**20
    assert all(len(one) == BYTES for one in kept)


def test_other_libraries_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the function there is nothing to call, and nothing breaks."""
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert heap.trimmer() is None


def old_collections() -> int:
    """How often the old generation, all objects in the end, was walked through."""
    return sum(generation["collections"] for generation in gc.get_stats()[1:])


def test_records_die_before_they_are_old() -> None:
    """Two hundred fetches, two alive at a time, leave older generations alone."""
    before = gc.get_threshold()
    gc.collect()
    try:
        heap.collect_rarely()
        began, held = old_collections(), list[list[LogRecord]]()
        for _ in range(FETCHES):
            held.append([LogRecord(n, 0, b"shop", b"{}") for n in range(FETCHED)])
            del held[:-2]
        assert old_collections() - began <= FETCHES * FETCHED // 400_000
    finally:
        gc.set_threshold(*before)


class Knot:
    """An object that holds itself."""

    def __init__(self) -> None:
        self.itself = self


def test_young_cycles_are_collected_without_the_old() -> None:
    """What nobody holds any more goes, and what is old is not walked through."""
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        before = gc.get_stats()[2]["collections"]
        knots = [weakref.ref(Knot()) for _ in range(10)]
        assert all(knot() is not None for knot in knots)
        heap.collect_young()
        assert all(knot() is None for knot in knots)
        assert gc.get_stats()[2]["collections"] == before
    finally:
        if was_on:
            gc.enable()
