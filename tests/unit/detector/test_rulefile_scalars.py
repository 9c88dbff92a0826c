"""What an unquoted word is: both YAML versions agree, or it is refused."""

from __future__ import annotations

import pytest

from detector.rulefile.scalars import Disputed, resolve

DISPUTED = [
    *("no", "No", "NO", "off", "on", "yes", "y", "n", "True", "FALSE"),
    *("Null", "~", "=", "<<"),
    *("12:30", "190:20:30", "2024-01-01"),
    *("0123", "0o17", "0x1F", "0b1", "1_000", "+5", ".5", "5."),
    *("1e3", "1E3", "1e-3", "1.5e3", ".inf", "-.inf", ".NaN"),
    *("1234567890123456789", "0.1234567890123456789"),
]


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("true", True),
        ("false", False),
        ("null", None),
        ("", None),
        ("0", 0),
        ("-7", -7),
        ("1.10", 1.1),
        ("0.0025", 0.0025),
        ("2.5e-3", 0.0025),
        ("checkout", "checkout"),
        ("1.2.3", "1.2.3"),
        ("v1", "v1"),
        ("24h", "24h"),
        ("nothing", "nothing"),
        ("2024-01-01-rc1", "2024-01-01-rc1"),
    ],
)
def test_undisputed_word_has_its_value(word: str, value: object) -> None:
    """JSON's scalars are values, everything else that looks like none is text."""
    found = resolve(word)

    assert value == found
    assert type(value) is type(found)


@pytest.mark.parametrize(
    "word",
    DISPUTED,
)
def test_disputed_word_is_refused(word: str) -> None:
    """A word two YAML readers read differently is no value; the hint says why."""
    found = resolve(word)

    assert isinstance(found, Disputed)
    assert "quote it" in found.hint


def test_exponent_hint_shows_plain_number() -> None:
    """Whoever wrote 1e-3 is told the spelling that works everywhere."""
    found = resolve("1e-3")

    assert isinstance(found, Disputed)
    assert found.hint.startswith("write 0.001,")


def test_endless_exponent_is_not_written_out() -> None:
    """A hint never expands 1e999999999 into its digits."""
    found = resolve("1e999999999")

    assert isinstance(found, Disputed)
    assert len(found.hint) < 100
