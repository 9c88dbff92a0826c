"""What a deploy says in a line: ``started at 10m weight 0.3``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, NamedTuple, get_args

from detector.events import Phase
from detector.rulefile.errors import Place, Report, nearest
from detector.rulefile.kinds import INVALID, Kind, Schema, refuse
from detector.rulefile.yamltree import Node, Scalar
from detector.ruletest.notation import parse_time

PHASES = get_args(Phase)
_SHARE = re.compile(r"[01](?:\.[0-9]+)?")


class Event(NamedTuple):
    """A step of a release: its phase, when in seconds, and its planned share."""

    phase: str
    at_s: int
    weight: float | None


@dataclass(frozen=True)
class Phrase(Kind):
    """A phase, ``at`` a time, and, where it has one, ``weight`` with a share."""

    def read(self, node: Node, path: str, report: Report) -> Any:
        if not isinstance(node, Scalar) or not isinstance(node.value, str):
            return refuse(node, path, report, self.words())
        words = list(re.finditer(r"\S+", node.value))

        def wrong(index: int, message: str, hint: str) -> Any:
            one = words[min(index, len(words) - 1)] if words else None
            start = node.place.column + node.quoted + (one.start() if one else 0)
            at = Place(node.place.line, start, len(one[0]) if one else 1)
            report.add(at, f"{path}: {message}", hint)
            return INVALID

        said = [word[0] for word in words]
        if not said or said[0] not in PHASES:
            first = said[0][:40] if said else ""
            return wrong(0, f"{first!r} is no phase", nearest(first, PHASES))
        if len(said) not in (3, 5) or said[1] != "at":
            return wrong(1, f"not {self.words()}", f"write {said[0]} at 10m")
        seconds = parse_time(said[2])
        if seconds is None:
            return wrong(2, f"{said[2][:40]!r} is no time", "such as 90s, 10m, 1h30m")
        if len(said) == 3:
            return Event(said[0], seconds, None)
        if said[3] != "weight":
            return wrong(3, f"{said[3][:40]!r} is not weight", "write weight 0.3")
        if not _SHARE.fullmatch(said[4]) or float(said[4]) > 1:
            return wrong(4, f"{said[4][:40]!r} is no share", "a number from 0 to 1")
        return Event(said[0], seconds, float(said[4]))

    def schema(self) -> Schema:
        phases = "|".join(PHASES)
        pattern = rf"^({phases}) at \S+( weight [01](\.[0-9]+)?)?$"
        return {"type": "string", "pattern": pattern}

    def words(self) -> str:
        return "a line such as started at 10m weight 0.3"
