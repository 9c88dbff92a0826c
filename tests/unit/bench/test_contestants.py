"""What the benchmark puts in the worker's place fits where it is put."""

from __future__ import annotations

import inspect

import pytest

from bench.kafka.hypercare import Counting, CountingCores
from streams.ports import CoreFactory, PartitionCore


@pytest.mark.parametrize(
    ("made", "wanted"), [(Counting, PartitionCore), (CountingCores, CoreFactory)]
)
def test_counting_core_fits(made: type, wanted: type) -> None:
    """Every name of the port is there and takes the same arguments."""
    names = [name for name in vars(wanted) if not name.startswith("_")]
    assert names
    for name in names:
        found, port = getattr(made, name, None), getattr(wanted, name)
        if name == "next_offset":  # set when it is made
            assert Counting().next_offset == 0
            continue
        assert found is not None, name
        if inspect.isfunction(port):
            assert list(inspect.signature(found).parameters) == list(
                inspect.signature(port).parameters
            ), name
