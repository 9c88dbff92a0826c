"""Rows of the fault table that no other test covers, at the count of the tests.

The same functions as `make faults`, judged by the same checker: see docs/faults.md.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from streams.kafka_local import LocalKafka
from tests.faults.table import ROWS

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

SEED = 1
IN_TESTS = ("10", "11")


@pytest.mark.parametrize("number", IN_TESTS)
def test_fault_costs_nothing(kafka: LocalKafka, tmp_path: Path, number: str) -> None:
    """After the fault of the row nothing is lost or counted twice, the bad release has
    one recommendation and the healthy ones none, all as an undisturbed run says."""
    row = ROWS[number]
    name = f"row{number}"
    _, wrong = row.run(
        kafka, tmp_path / name, name=name, seed=SEED, count=row.counts[0]
    )
    assert wrong == []
