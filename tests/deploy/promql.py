"""What the dashboard asks, taken apart: queries with their metrics and labels."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import promql_parser

ROOT = Path(__file__).resolve().parents[2]
DASHBOARD = ROOT / "deploy/grafana/dashboards/hypercare.json"
INTERVALS = {"$__rate_interval": "1m", "$__interval": "15s"}
LABEL_VALUES = re.compile(r"label_values\((.+), ([a-z_]+)\)")


class Query(NamedTuple):
    """One query, where it stands, and how its labels are used."""

    place: str
    expr: str


def dashboard() -> dict[str, Any]:
    """The dashboard as Grafana gets it."""
    loaded = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    assert isinstance(loaded, dict)
    return loaded


def panels() -> list[dict[str, Any]]:
    """Every panel that shows something; rows are not collapsed."""
    return [p for p in dashboard()["panels"] if p["type"] != "row"]


def queries() -> list[Query]:
    """Every query of every panel and annotation."""
    found = [
        Query(f"{panel['id']} {panel['title']} {target['refId']}", target["expr"])
        for panel in panels()
        for target in panel["targets"]
    ]
    notes = dashboard()["annotations"]["list"]
    return found + [Query(note["name"], note["expr"]) for note in notes]


def variables() -> dict[str, tuple[str, str]]:
    """Selector and label whose values each variable offers."""
    found = {}
    for variable in dashboard()["templating"]["list"]:
        if variable["type"] == "query":
            asked = LABEL_VALUES.fullmatch(variable["definition"])
            assert asked is not None, variable["definition"]
            found[variable["name"]] = (asked[1], asked[2])
    return found


def filled(expr: str, values: Mapping[str, str]) -> str:
    """The query with its variables replaced, as Grafana sends it."""
    for name, value in {**INTERVALS, **{f"${k}": v for k, v in values.items()}}.items():
        expr = expr.replace(name, value)
    return expr


def selectors(expr: str) -> Iterator[Any]:
    """Every vector selector of a query; raises where the query does not parse."""
    yield from _walk(promql_parser.parse(expr))


def _walk(node: Any) -> Iterator[Any]:
    if isinstance(node, promql_parser.VectorSelector):
        yield node
    for name in ("expr", "lhs", "rhs", "param", "vector_selector"):
        child = getattr(node, name, None)
        if child is not None:
            yield from _walk(child)
    for child in getattr(node, "args", None) or ():
        yield from _walk(child)
