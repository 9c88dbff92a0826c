"""What keys must agree on with each other, beyond the range of each."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from detector.rulefile.errors import Place, Report
from detector.rulefile.match import covers
from detector.rulefile.yamltree import Entries, Items, Node, Scalar

if TYPE_CHECKING:
    from detector.rulefile.model import Rule, RuleFile
    from detector.rulefile.parts import Hypercare, Ladder, Match

BUILT_IN = "built-in"
CELLS_MAX = 4096
COVER_STEPS_MAX = 50_000_000
HOURS_A_DAY = 24


def check_ladder(ladder: Ladder, node: Entries, path: str, report: Report) -> None:
    """Report steps in the wrong order: watch comes before hold."""
    if ladder.watch_e > ladder.hold_e:
        message = f"{path}: watch_e {ladder.watch_e:g} is above {ladder.hold_e:g}"
        hint = "watch comes before hold: lower watch_e, or raise hold_e"
        report.add(place_of(node, "watch_e"), message, hint)


def check_hypercare(
    hypercare: Hypercare, node: Entries, path: str, report: Report
) -> None:
    """Report a release that is old before it may be healthy."""
    if hypercare.min_hours > hypercare.max_days * HOURS_A_DAY:
        message = f"{path}: min_hours is longer than max_days"
        hint = "lower min_hours, or raise max_days"
        report.add(place_of(node, "min_hours"), message, hint)


FOR_PEOPLE = frozenset({"sample_ratio"})
"""Signals that only ever ask people to look: a rule with them alone judges nothing."""


def check_rule(rule: Rule, node: Entries, path: str, report: Report) -> None:
    """Report what contradicts itself within one rule."""
    if rule.name == BUILT_IN:
        message = f"{path}.name: {BUILT_IN} is the rule for releases that none fits"
        report.add(place_of(node, "name"), message, "choose another name")
    rollback_e = 1 / rule.alpha
    if rule.ladder.hold_e > rollback_e:
        message = f"{path}.ladder.hold_e: {rule.ladder.hold_e:g} is above 1/alpha"
        hint = f"hold comes before rollback: at most {rollback_e:g}, or a smaller alpha"
        report.add(place_of(node, "ladder", "alpha"), message, hint)
    cells = prod(stratum.max_values for stratum in rule.strata)
    if cells > CELLS_MAX:
        message = f"{path}.strata: up to {cells} combinations of values"
        hint = f"at most {CELLS_MAX}: lower max_values"
        report.add(place_of(node, "strata"), message, hint)
    judging = (s for name, s in rule.signals.items() if name not in FOR_PEOPLE)
    if not any(signal.weight > 0 for signal in judging):
        message = f"{path}.signals: every signal is switched off"
        report.add(place_of(node, "signals"), message, "give one a weight above 0")


def check_file(file: RuleFile, node: Entries, report: Report) -> None:
    """Report rules that can never apply because an earlier one takes everything.

    Complete for 500 rules of ordinary names; gives up on sets whose globs are so
    many and so long that comparing all pairs would take more than a few seconds.
    """
    rules = node.get("rules")
    places = rules.items if isinstance(rules, Items) else ()
    sizes = [_size(rule.match) for rule in file.rules]
    steps = 0
    for later, (rule, part) in enumerate(zip(file.rules, places, strict=True)):
        for earlier, size in zip(file.rules[:later], sizes, strict=False):
            steps += size * sizes[later]
            if steps > COVER_STEPS_MAX or report.full:
                return
            if _covers(earlier.match, rule.match):
                message = f"rules[{later}]: {rule.name} can never apply"
                hint = f"{earlier.name} above fits all of it: move this rule up"
                report.add(place_of(part, "match", "name"), message, hint)
                break


def check_end(node: Entries, report: Report) -> None:
    """Report a file that was cut off: its last key must be ``end_of_rules: true``.

    No proper prefix of a whole file passes: whatever is cut off after the mark can
    only be comment or space (docs/decisions/0003).
    """
    mark = node.get("end_of_rules")
    if mark is None:
        hint = "restore the rest, or add end_of_rules: true as the last line"
        message = "end_of_rules: true is missing at the end: the file may be cut off"
        report.add(report.end, message, hint)
        return
    if isinstance(mark, Scalar) and mark.value is False:
        report.add(mark.place, "end_of_rules: false is not a mark", "write true")
    last = node.entries[-1][0]
    if last.raw != "end_of_rules":
        message = f"{last.raw[:40]}: stands after end_of_rules"
        report.add(last.place, message, "end_of_rules: true must be the last key")


def _size(match: Match) -> int:
    fields = (match.service, match.environment, match.component, match.criticality)
    return sum(len(glob) for globs in fields for glob in globs)


def _covers(general: Match, special: Match) -> bool:
    return (
        covers(general.service, special.service)
        and covers(general.environment, special.environment)
        and covers(general.component, special.component)
        and covers(general.criticality, special.criticality)
    )


def place_of(node: Node, *names: str) -> Place:
    """Find the first of the keys ``names``, else the mapping itself."""
    if isinstance(node, Entries):
        for name in names:
            for at, _ in node.entries:
                if at.raw == name:
                    return at.place
    return node.place
