"""Labels: files, people's words, and errors that name the line."""

from __future__ import annotations

import msgspec
import pytest

from detector.backtest import Label, read_labels
from detector.backtest.labels import labels_of_people, said_labels
from detector.rulefile import RuleFileError

ONSET_MS = 1_795_356_600_000


def test_both_formats_say_the_same() -> None:
    """JSON lines and YAML; ISO time and milliseconds."""
    lines = (
        '{"service":"shop","release":"2.4","harmful":true,'
        '"onset":"2026-11-22T14:10:00Z","note":"cart"}\n\n'
        '{"service":"shop","release":"2.5","environment":"eu","harmful":false}\n'
    )
    tree = (
        '- {service: shop, release: "2.4", harmful: true, onset: 1795356600000, '
        "note: cart}\n- service: shop\n  release: '2.5'\n  environment: eu\n"
        "  harmful: false\n"
    )
    expected = [
        Label("shop", "production", "2.4", None, True, ONSET_MS, "cart"),
        Label("shop", "eu", "2.5", None, False),
    ]
    assert read_labels(lines, "x.jsonl") == expected
    assert read_labels(tree, "x.yaml") == expected


GOOD = '{"service":"s","release":"1","harmful":true}'


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"service":"s","releas":"1","harmful":true}', "did you mean release"),
        ('{"service":"s","release":"1","harmful":"yes"}', "write true or false"),
        ('{"service":"s","release":1,"harmful":true}', 'write release in quotes'),
        ('{"service":"s","release":"1"}', "harmful is missing"),
        ('{"service":"s","release":"1","harmful":true,"onset":1795356}', "millisecond"),
        ('{"service":"s","release":"2","harmful":true,"onset":"2026-01-01T00:00"}',
         "end it with Z"),
        ('{"service":"s","release":"2","harmful":false,"onset":1795356600000}',
         "not harmful"),
        ("[1]", "no object"),
        ("{", "not JSON"),
        (GOOD, "labelled in line 1 too"),
    ],
)  # fmt: skip
def test_problems_have_line_and_fix(line: str, said: str) -> None:
    """Whatever is wrong in line 2 is told with that line."""
    with pytest.raises(RuleFileError) as caught:
        read_labels(f"{GOOD}\n{line}\n", "x.jsonl")
    assert "x.jsonl:2:" in str(caught.value)
    assert said in str(caught.value)


def test_empty_file_is_refused() -> None:
    """No label is no empty set of labels: it is a mistake."""
    for name in ("x.yaml", "x.jsonl"):
        with pytest.raises(RuleFileError, match="no label in the file"):
            read_labels("", name)


def test_words_of_people_become_labels() -> None:
    """The last word about a recommendation counts; right or late is harmful."""
    lines = [
        msgspec.json.encode(
            {
                "kind": "command", "name": "label", "service": "shop",
                "release": release, "recommendation_id": name, "value": value,
            }
        )
        for release, name, value in [
            ("1", "rec_a", "right"), ("1", "rec_a", "wrong"),
            ("2", "rec_b", "late"), ("2", "rec_c", "wrong"),
        ]
    ]  # fmt: skip
    said = [one for line in lines for one in said_labels(line)]
    found = labels_of_people(said, {"rec_b": (None, ONSET_MS)})
    assert [(x.release, x.harmful, x.onset_ms) for x in found] == [
        ("1", False, None),
        ("2", True, ONSET_MS),
    ]
