"""The rule file described for editors (JSON schema) and for people (a page).

Both are made from the model's fields; ``tools/generate_rule_docs.py`` writes them and
a test fails when they are out of date.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import MISSING, Field, is_dataclass
from typing import Any

from detector.rulefile.kinds import Key, Kind, Schema, is_required, keys_of
from detector.rulefile.model import Rule, RuleFile
from detector.rulefile.shapes import Listing, OneOrMany, Struct, Table

_HEAD = """# Rule file reference

<!-- Made from detector/rulefile by tools/generate_rule_docs.py; do not edit. -->

How to write and tune rules: [rules/README.md](../rules/README.md). For editors:
[rules/rules.schema.json](../rules/rules.schema.json).

"Effect" says which way a key moves detection delay and false alarms. A dash means
that it moves neither.
"""


def rules_schema() -> str:
    """Give the JSON schema (draft 2020-12) of a rule file, as text."""
    schema: Schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Hypercare rule file",
        "description": "What a schema can say of it; hypercare rules check says more.",
    }
    schema |= Struct(RuleFile).schema()
    schema["required"] = list(keys_of(RuleFile))
    end = {"const": True, "description": schema["properties"]["end_of_rules"]}
    end["description"] = keys_of(RuleFile)["end_of_rules"][0].means
    schema["properties"]["end_of_rules"] = end
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def reference_page() -> str:
    """Give the reference of every key as a Markdown page."""
    sections = [_HEAD]
    for title, model in _structures("The file", RuleFile):
        rows = [_row(name, *known) for name, known in keys_of(model).items()]
        table = [
            "| key | value | default | unit | meaning | effect |",
            "|---|---|---|---|---|---|",
            *rows,
        ]
        sections.append(f"## {title}\n\n" + "\n".join(table) + "\n")
    return "\n".join(sections)


def _structures(title: str, model: type[Any]) -> Iterator[tuple[str, type[Any]]]:
    """List a structure and those in it, each under the path it has in a file."""
    yield title, model
    for name, (one, _) in keys_of(model).items():
        inner = _inner(one.kind)
        if inner is not None:
            lead = "" if model in (RuleFile, Rule) else f"{title}."
            suffix = {Listing: "[]", Table: ".<name>"}.get(type(one.kind), "")
            yield from _structures(f"`{lead}{name}{suffix}`", inner)


def _inner(kind: Kind) -> type[Any] | None:
    if isinstance(kind, Struct):
        return kind.model
    if isinstance(kind, Listing | OneOrMany):
        return _inner(kind.item)
    return kind.entry.model if isinstance(kind, Table) else None


def _row(name: str, one: Key, part: Field[Any]) -> str:
    nested = _inner(one.kind) is not None
    words = "see below" if nested else one.kind.words()
    default = "required" if _must_be_written(name, part) else _default(part)
    cells = (f"`{name}`", words, default, one.unit or "-", one.means, one.tune or "-")
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _must_be_written(name: str, part: Field[Any]) -> bool:
    return is_required(part) or name == "end_of_rules"


def _default(part: Field[Any]) -> str:
    factory = part.default_factory
    value = part.default if factory is MISSING else factory()
    return _shown(value) or "empty"


def _shown(value: Any) -> str:
    """Write a default as short as it is clear."""
    if is_dataclass(value):
        first = next(iter(keys_of(type(value))))
        named = first in ("attr",)
        return f"`{getattr(value, first)}`" if named else "its defaults"
    if isinstance(value, dict):
        return ", ".join(f"`{name}`" for name in value)
    if isinstance(value, tuple):
        return ", ".join(_shown(part) for part in value)
    if isinstance(value, float):
        return f"`{value:g}`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value}`" if value != "" else ""
