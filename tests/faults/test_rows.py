"""Rows of the fault table that no other test covers, at the count of the tests.

The same functions as `make faults`, judged by the same checker: see docs/faults.md,
also for the rows that other tests cover; those carry the mark ``fault``.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from streams.kafka_local import LocalKafka
from tests.faults.clock import library
from tests.faults.table import ROWS
from tools.fetch_monitoring import FetchError

SEED = 1
IN_TESTS = ("3", "9", "10", "11", "13", "14", "15", "16")


def need_clock() -> None:
    """Skip a test where libfaketime is not to be had; in CI that fails."""
    try:
        library()
    except FetchError as error:
        if os.environ.get("CI"):
            pytest.fail(f"libfaketime: {error}")
        pytest.skip(f"libfaketime: {error}")


@pytest.mark.kafka
@pytest.mark.slow
@pytest.mark.parametrize(
    "number", [pytest.param(n, marks=pytest.mark.fault(n)) for n in IN_TESTS]
)
def test_fault_costs_nothing(kafka: LocalKafka, tmp_path: Path, number: str) -> None:
    """After the fault of the row nothing is lost or counted twice, the bad release has
    one recommendation and the healthy ones none, all as an undisturbed run says.

    The traffic is seeded; a bad release whose failures rise from 1 to 6 of a hundred
    stays unseen for sixty windows with a probability far below 1e-9.
    """
    if number == "9":
        need_clock()
    row = ROWS[number]
    name = f"row{number}"
    _, wrong = row.run(
        kafka, tmp_path / name, name=name, seed=SEED, count=row.counts[0]
    )
    assert wrong == []


def test_every_row_is_explained() -> None:
    """docs/faults.md has a line about each row of the table."""
    page = (Path(__file__).parents[2] / "docs" / "faults.md").read_text("utf-8")
    missing = [n for n, row in ROWS.items() if f"| {n} | {row.what} |" not in page]
    assert missing == []
