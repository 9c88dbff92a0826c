"""``hypercare rules propose``: one change of a rule that people found wrong or late."""

from __future__ import annotations

import difflib
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import click

from detector.backtest import courses_of, judge
from detector.backtest.courses import without_rulesets
from detector.backtest.precision import (
    LATE,
    WRONG,
    Labels,
    Precision,
    precision_by_rule,
)
from detector.backtest.proposing import (
    Knob,
    Measured,
    begun_of,
    best,
    knobs,
    truth_of,
)
from detector.rulefile import RuleSet, load_rules
from detector.rulefile.editing import with_value
from streams.cli.common import Progress, json_option, lines_of, read_text, rules_option
from streams.cli.exits import Exit, explained
from streams.cli.rules.precision import in_words, table
from streams.cli.rules.telling import shown, span
from streams.cli.rules.trials import History, measured
from streams.errors import Refused
from streams.rulesdata import DEFAULT_RULES, default_rules_text


class Aim(NamedTuple):
    """The rule to be changed, what is wrong with it, and the reasons it gave."""

    rule: str
    sooner: bool
    said: str
    reasons: tuple[str, ...]


@click.command()
@click.option(
    "--history",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="A recording (hypercare record); labels in it count.",
)
@click.option(
    "--labels",
    "labels_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Further labels: JSON lines of the audit topic.",
)
@click.option(
    "--precision",
    "wanted",
    type=click.FloatRange(0, 1),
    default=0.9,
    show_default=True,
    help="Rules below this precision are changed.",
)
@click.option("--rule", "only", help="Change this rule [default: the worst one].")
@click.option("--write", is_flag=True, help="Show the change, then write it.")
@rules_option
@json_option
@explained
def propose(
    history: Path,
    labels_file: Path | None,
    wanted: float,
    only: str | None,
    write: bool,
    rules_file: Path | None,
    as_json: bool,
) -> None:
    """Propose ONE change of a knob, as a diff, with its effect on recorded history.

    Tried are persistence_s, margins, min_exposure and alpha of a rule with too many
    wrong recommendations, or with late ones. Exit code 3 when none of them helps.
    """
    if write and rules_file is None:
        raise Refused("--write needs --rules FILE: the shipped rules are not changed")
    source = str(rules_file) if rules_file else DEFAULT_RULES
    text = read_text(rules_file) if rules_file else default_rules_text()
    rules = load_rules(text, source=source)
    lines, labels = _read(history, labels_file, rules)
    found = precision_by_rule(labels)
    aim = _aim(found, labels, wanted, only)
    if aim is None:
        _nothing(found, labels, as_json)
        return
    rule = next((r for r in rules.rules if r.name == aim.rule), None)
    if rule is None:
        raise Refused(f"{source} has no rule {aim.rule}: give the file it stands in")
    tried = [
        (knob, edited)
        for knob in knobs(rule, aim.reasons, sooner=aim.sooner)
        if (edited := with_value(text, *knob[:2], knob.after)) is not None
    ]
    past = History(lines, truth_of(labels), begun_of(lines))
    progress = Progress("rule sets tried", every=1)
    results: list[Measured] = []
    for one in measured(past, [text, *(edited for _, edited in tried)]):
        results.append(one)
        progress.step()
    progress.done()
    before, after = results[0], results[1:]
    pairs = list(zip((knob for knob, _ in tried), after, strict=True))
    chosen = best(before, pairs, sooner=aim.sooner)
    edited = next((e for k, e in tried if chosen and k == chosen[0]), None)
    change = _unified(source, text, edited)
    if as_json:
        click.echo(json.dumps(_as_dict(aim, before, pairs, chosen, change)))
    else:
        for line in table(found):
            click.echo(line)
        _show(aim, before, pairs, chosen, change)
    if edited is None:
        raise SystemExit(Exit.FOUND)
    if write and rules_file is not None:
        _write(rules_file, text, edited)
        click.echo(f"written: {rules_file}", err=True)


def _read(
    history: Path, labels_file: Path | None, rules: RuleSet
) -> tuple[list[bytes], Labels]:
    """Lines without the rule sets of then, and what was said of what they lead to."""
    lines = list(without_rulesets(lines_of(history)))
    labels = Labels()
    labels.judged(courses_of(judge(lines, rules)))
    labels.read(lines)
    if labels_file is not None:
        labels.read(lines_of(labels_file))
    return lines, labels


def _aim(
    found: list[Precision], labels: Labels, wanted: float, only: str | None
) -> Aim | None:
    """The least precise rule, else the one with most late recommendations."""
    if only is not None and only not in {one.rule for one in found}:
        known = ", ".join(one.rule for one in found) or "none"
        raise Refused(f"no recommendations of rule {only}; rules that have: {known}")
    there = [one for one in found if only in (None, one.rule)]
    for one in there:  # the least precise first
        value = one.precision.value
        if value is not None and value < wanted:
            said = f"precision {in_words(one.precision)} is below {wanted:.0%}"
            return Aim(one.rule, False, said, _reasons(labels, one.rule, WRONG))
    late = max(there, key=lambda one: one.late, default=None)
    if late is None or not late.late:
        return None
    said = f"{late.late} of its recommendations came late"
    return Aim(late.rule, True, said, _reasons(labels, late.rule, LATE))


def _reasons(labels: Labels, rule: str, word: str) -> tuple[str, ...]:
    of_rule = (r for r in labels.recommended.values() if r.rule == rule)
    return tuple({r.reason: 0 for r in of_rule if labels.word_of(r.id) == word})


def _nothing(found: list[Precision], labels: Labels, as_json: bool) -> None:
    labelled = sum(one.recommended - one.unlabelled for one in found)
    said = "no rule is below the precision wanted, none has late recommendations"
    if not labelled:
        said = "no recommendation of this history has a label: hypercare label ID ..."
    if as_json:
        click.echo(json.dumps({"rule": None, "said": said}))
        return
    for line in table(found):
        click.echo(line)
    click.echo(f"nothing to propose: {said}")
    if labels.unknown:
        click.echo(f"{len(labels.unknown)} labels of recommendations not made here")


def _unified(source: str, text: str, edited: str | None) -> str:
    if edited is None:
        return ""
    sides = (text.splitlines(keepends=True), edited.splitlines(keepends=True))
    path = source.lstrip("/")
    names = (f"a/{path}", f"b/{path}")
    return "".join(difflib.unified_diff(*sides, *names))


def _show(
    aim: Aim,
    before: Measured,
    pairs: list[tuple[Knob, Measured]],
    chosen: tuple[Knob, Measured] | None,
    change: str,
) -> None:
    click.echo(f"\nrule {aim.rule}: {aim.said}. Tried on this history:")
    form = "  {:1} {:36} {:>5} {:>5} {:>10}  {:>8}  {}"
    heads = ("right", "wrong", "unlabelled", "median", "of late")
    click.echo(form.format("", "", *heads))
    click.echo(form.format("", "as it is", *_row(before)))
    for knob, found in pairs:
        name = f"{knob.key} {shown(knob.before)} -> {shown(knob.after)}"
        mark = "*" if chosen and knob == chosen[0] else ""
        click.echo(form.format(mark, name, *_row(found)))
    if chosen is None:
        click.echo(
            "\nnone helps: each loses a release that was rightly found, recommends "
            "something new, or changes nothing"
        )
        return
    click.echo(
        "\nProposed (*). It was chosen on the history it is measured on, so expect a "
        "little less.\nPut it to `hypercare rules test` before it is in force."
    )
    click.echo(f"\n{change}", nl=False)


def _row(found: Measured) -> tuple[object, ...]:
    return (
        len(found.right),
        len(found.wrong),
        len(found.unlabelled),
        "-" if found.delay_ms is None else span(found.delay_ms),
        "-" if found.late_ms is None else span(found.late_ms),
    )


def _write(path: Path, text: str, edited: str) -> None:
    if read_text(path) != text:
        raise Refused(f"{path} was changed meanwhile: run the command again")
    aside = path.with_name(f".{path.name}.new")
    # Text is read with its line ends made alike: they are written as they were.
    ends = "\r\n" if b"\r\n" in path.read_bytes() else "\n"
    aside.write_text(edited, encoding="utf-8", newline=ends)
    os.chmod(aside, path.stat().st_mode)
    aside.replace(path)


def _as_dict(
    aim: Aim,
    before: Measured,
    pairs: list[tuple[Knob, Measured]],
    chosen: tuple[Knob, Measured] | None,
    change: str,
) -> dict[str, Any]:
    return {
        "rule": aim.rule,
        "said": aim.said,
        "before": _figures(before),
        "tried": [{**knob._asdict(), **_figures(found)} for knob, found in pairs],
        "proposed": None if chosen is None else chosen[0]._asdict(),
        "diff": change,
    }


def _figures(found: Measured) -> dict[str, object]:
    return {
        "right": len(found.right),
        "wrong": len(found.wrong),
        "unlabelled": len(found.unlabelled),
        "delay_ms": found.delay_ms,
        "late_ms": found.late_ms,
    }
