"""How values, times and places of rules are shown."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from detector.rulefile.meaning import Place
from detector.ruletest.notation import shown_time


def shown(value: Any, unit: str = "") -> str:
    """A value as it is written in a rule file."""
    if isinstance(value, tuple):
        return "[" + ", ".join(str(part) for part in value) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return "nothing"
    number = f"{value:g}" if isinstance(value, float) else str(value)
    with_unit = unit and unit not in ("ratio", "probability")
    return f"{number} {unit}" if with_unit else number or '""'


def placed(place: Place) -> str:
    """A place in a line; * is every name that no rule spells out."""
    said = [
        "any other service" if place.service == "*" else place.service,
        "any other environment" if place.environment == "*" else place.environment,
    ]
    if place.component:
        said.append(f"component {place.component}")
    if place.criticality:
        said.append(f"criticality {place.criticality}")
    return ", ".join(said)


def clock(ms: int | None) -> str:
    """A time of day in UTC, to the second."""
    if ms is None:
        return "-"
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def span(ms: float) -> str:
    """A length of time."""
    return shown_time(round(ms / 1000))
