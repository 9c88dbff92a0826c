"""The generated page and schema: complete, fresh, and in step with decoding."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from detector import eventdocs, events
from detector.decode import Reason
from detector.fielddocs import FIELDS, description
from tests.unit.detector.samples import SAMPLES

ROOT = Path(__file__).resolve().parents[3]
STRUCTS = [
    value
    for value in vars(events).values()
    if isinstance(value, type)
    and issubclass(value, msgspec.Struct)
    and value is not msgspec.Struct
]


@pytest.mark.parametrize("struct", STRUCTS)
def test_every_field_is_described(struct: type[msgspec.Struct]) -> None:
    """Every field of every structure has one sentence."""
    for field in msgspec.structs.fields(struct):
        assert description(struct, field.name).endswith(".")


@pytest.mark.parametrize("struct", STRUCTS)
def test_every_description_has_field(struct: type[msgspec.Struct]) -> None:
    """No description is left of a field that is gone or declared elsewhere."""
    assert set(FIELDS[struct]) == set(vars(struct).get("__annotations__", {}))


def test_no_structure_is_left_over() -> None:
    """The table describes the structures of the envelope and no others."""
    assert set(STRUCTS) == set(FIELDS)


@pytest.mark.parametrize(
    ("path", "generate"),
    [
        ("docs/events.md", eventdocs.markdown),
        ("docs/events.schema.json", eventdocs.schema),
    ],
)
def test_published_pages_are_fresh(path: str, generate: Any) -> None:
    """What docs/ holds is what the generator gives."""
    assert generate() == (ROOT / path).read_text(encoding="utf-8")


def test_schema_describes_every_property() -> None:
    """Each property of each definition carries its description."""
    schema = json.loads(eventdocs.schema())
    for definition in schema["$defs"].values():
        assert all("description" in p for p in definition["properties"].values())


def test_schema_knows_all_samples() -> None:
    """Kinds and fields of the schema are those of the samples."""
    definitions = json.loads(eventdocs.schema())["$defs"]
    for sample in SAMPLES.values():
        assert set(sample) <= set(definitions[sample["kind"].title()]["properties"])


def test_page_names_every_reason() -> None:
    """Someone who sees a reason in a metric finds it on the page."""
    page = eventdocs.markdown()
    assert all(f"`{reason}`" in page for reason in Reason)
