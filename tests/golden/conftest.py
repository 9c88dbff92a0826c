"""The switch that accepts new outputs: pytest tests/golden --update-golden."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Register the switch; it is known when this folder is named on the line."""
    parser.addoption(
        "--update-golden",
        action="store_true",
        help="write the outputs of tests/golden anew, to be read in the diff",
    )
