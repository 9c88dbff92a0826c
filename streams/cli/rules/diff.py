"""``hypercare rules diff``: what a change of rules means."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import msgspec

from detector.backtest.courses import courses_of, judge, without_rulesets
from detector.backtest.effects import Effect, effects
from detector.rulefile import BUILT_IN_RULE, RuleSet
from detector.rulefile.meaning import (
    NAMELESS,
    Change,
    Difference,
    Place,
    changes_of,
    compare,
)
from streams.cli.common import Progress, json_option, lines_of, read_rules
from streams.cli.exits import explained
from streams.cli.rules.telling import clock, placed, shown, span

ORDER = ("new", "gone", "earlier", "later", "other", "same")
REASSIGNED_SHOWN_MAX = 40


@click.command()
@click.argument("before", type=click.Path(path_type=Path, dir_okay=False))
@click.argument("after", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--history",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    help="A recording (hypercare record): what it would have changed there.",
)
@json_option
@explained
def diff(before: Path, after: Path, history: Path | None, as_json: bool) -> None:
    """Say what differs in meaning between two rule files, BEFORE and AFTER.

    Comments, formatting and spelled-out defaults make no difference.
    """
    old, new = read_rules(before), read_rules(after)
    lines = _read(history) if history is not None else None
    found = compare(old, new, _places(lines or []))
    changed = None if lines is None else _effects(lines, old, new)
    if as_json:
        click.echo(json.dumps(_as_dict(old, new, found, changed)))
        return
    if old.hash == new.hash:
        click.echo(f"no difference in meaning: both have the hash {old.hash[:12]}")
    _show(found)
    _show_pairs(old, new, found)
    if changed is not None:
        _show_effects(changed)


def _read(history: Path) -> list[bytes]:
    progress = Progress("lines")
    found = []
    for line in without_rulesets(lines_of(history)):
        found.append(line)
        progress.step()
    progress.done()
    return found


def _places(lines: list[bytes]) -> list[Place]:
    """Services and environments of a recording, as releases without more known."""
    found: dict[Place, None] = {}
    for line in lines:
        try:
            whole = msgspec.json.decode(line)
        except msgspec.DecodeError:
            continue
        for one in whole if isinstance(whole, list) else [whole]:
            if isinstance(one, dict) and "release" in one and "service" in one:
                environment = one.get("environment", "production")
                found[Place(one["service"], environment, None, None)] = None
    return list(found)


def _effects(lines: list[bytes], old: RuleSet, new: RuleSet) -> list[Effect]:
    before, after = (courses_of(judge(lines, rules)) for rules in (old, new))
    found = effects(before, after)
    return sorted(found, key=lambda one: (ORDER.index(one.word), one.key.service))


def _show(found: Difference) -> None:
    for name in found.removed:
        click.echo(click.style(f"- rule {name}", fg="red"))
    for name in found.added:
        click.echo(click.style(f"+ rule {name}", fg="green"))
    if found.reordered:
        click.echo("~ the order of the rules, which decides where several fit")
    last = None
    for change in found.changes:
        if change.rule != last:
            click.echo(f"rule {change.rule}")
            last = change.rule
        _show_change(change)
    if found.reassigned:
        click.echo("judged by another rule:")
    for one in found.reassigned[:REASSIGNED_SHOWN_MAX]:
        alike = " (same settings)" if one.alike else ""
        click.echo(f"  {placed(one.place)}: {one.before} -> {one.after}{alike}")
    left = len(found.reassigned) - REASSIGNED_SHOWN_MAX
    if left > 0:
        click.echo(f"  ... and {left} more: --json has all")
    if found.partial:
        click.echo("  (too many names: not every combination of them was tried)")


def _show_pairs(old: RuleSet, new: RuleSet, found: Difference) -> None:
    """What another rule decides otherwise, once for each pair of rules."""
    was, now = ({r.name: r for r in one.rules} for one in (old, new))
    pairs = dict.fromkeys((r.before, r.after) for r in found.reassigned if not r.alike)
    for left, right in pairs:
        click.echo(f"{left} -> {right}")
        rules = was.get(left, BUILT_IN_RULE), now.get(right, BUILT_IN_RULE)
        for change in changes_of(*rules):
            if change.key in NAMELESS or change.key.startswith("match."):
                continue
            _show_change(change)


def _show_change(change: Change) -> None:
    click.echo(f"  {change.key}: {shown(change.before)} -> {shown(change.after)}")
    if change.effect:
        click.echo(f"      {change.effect}")


def _show_effects(changed: list[Effect]) -> None:
    counted = {word: sum(e.word == word for e in changed) for word in ORDER}
    said = ", ".join(f"{n} {word}" for word, n in counted.items() if n)
    click.echo(f"on recorded history: {said or 'no release in it'}")
    for one in changed:
        if one.word == "same":
            continue
        by = f" by {span(one.by_ms)}" if one.by_ms else ""
        click.echo(f"  {' '.join(part for part in one.key if part)}: {one.word}{by}")
        for sign, colour, side in (("-", "red", one.before), ("+", "green", one.after)):
            action = side.recommended or "no recommendation"
            when = f" at {clock(side.recommended_ms)}" if side.recommended else ""
            text = f"    {sign} {action}{when}; at the end {side.verdict or 'nothing'}"
            click.echo(click.style(f"{text} (rule {side.rule or '-'})", fg=colour))


def _as_dict(
    old: RuleSet, new: RuleSet, found: Difference, changed: list[Effect] | None
) -> dict[str, Any]:
    body: dict[str, Any] = {
        "before": old.hash,
        "after": new.hash,
        "added": found.added,
        "removed": found.removed,
        "reordered": found.reordered,
        "changes": [change._asdict() for change in found.changes],
        "reassigned": [
            {**r._asdict(), "place": r.place._asdict()} for r in found.reassigned
        ],
        "partial": found.partial,
    }
    if changed is not None:
        body["history"] = [
            {
                **one._asdict(),
                "key": one.key._asdict(),
                "before": one.before._asdict(),
                "after": one.after._asdict(),
            }
            for one in changed
        ]
    return body
