"""The product as a detector: the replay of the shipped rules, line by line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec
from msgspec import Struct

from bench.quality.scoring import Decision
from detector.records import Output
from detector.replay import Replay
from detector.rulefile import RuleSet, load_rules
from detector.verdicts import Action, RecommendationRecord, RecommendationState
from detector.wire import RECOMMENDATIONS
from streams.rulesdata import DEFAULT_RULES, default_rules_text

TAKES_BACK = frozenset(
    {
        Action.ROLLBACK,
        Action.HOTFIX,
        Action.HALT,
        Action.WITHDRAW,
        Action.REPLACE,
    }
)
"""Actions that take a release from its users: a mobile one is halted or fixed."""

_recommendation = msgspec.json.Decoder(RecommendationRecord)


class Said(Struct):
    """What the product said, in words that any consumer understands."""

    ts_ms: int
    service: str
    release: str
    action: str
    segment: dict[str, str] | None
    target: str | None
    reason: str


_said = msgspec.json.Decoder(Said)


def shipped_rules() -> RuleSet:
    """The rule set every installation starts with."""
    return load_rules(default_rules_text(), source=DEFAULT_RULES)


class Product(Replay):
    """Replays envelope lines and keeps what was recommended.

    The lines it yields are ``Said`` in JSON: open recommendations only, each
    revision once. Verdicts are not shown.
    """

    def __init__(self, rules: RuleSet | None = None) -> None:
        super().__init__(rules or shipped_rules())

    def show(self, output: Output) -> bytes | None:
        """A recommendation as a line, or None for everything else."""
        if super().show(output) is None or output.topic != RECOMMENDATIONS:
            return None
        record = _recommendation.decode(output.value)
        if record.state is not RecommendationState.OPEN:
            return None
        return msgspec.json.encode(
            Said(
                record.decided_at,
                record.service,
                record.release,
                word_of(record.action),
                record.segment,
                record.target,
                record.sentence,
            )
        )

    def said(self, lines: Iterable[bytes]) -> Iterator[Said]:
        """What is said in answer to each line, as soon as it has been read."""
        for shown in self.feed(lines):
            yield _said.decode(shown)

    def decisions(self, lines: Iterable[bytes]) -> list[Decision]:
        """Releases to take back, as the scorer reads them."""
        return [
            Decision(said.service, said.release, said.ts_ms, said.segment)
            for said in self.said(lines)
            if said.action == Action.ROLLBACK
        ]


def word_of(action: Action) -> str:
    """``rollback`` for whatever takes a release back, ``hold``, else ``ok``."""
    if action in TAKES_BACK:
        return "rollback"
    return "hold" if action is Action.HOLD else "ok"
