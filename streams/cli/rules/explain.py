"""``hypercare rules explain``: which rule a service gets, and what it means."""

from __future__ import annotations

import json
import re
from pathlib import Path

import click

from detector.events import NAME_PATTERN
from detector.rulefile import load_rules
from detector.rulefile.explaining import Explanation, explain_rules, place_names
from detector.rulefile.meaning import Place
from detector.rulefile.parts import CRITICALITIES
from streams.cli.common import json_option, read_text, rules_option
from streams.cli.exits import explained
from streams.cli.rules.telling import shown
from streams.errors import Refused
from streams.rulesdata import DEFAULT_RULES, default_rules_text


@click.command()
@click.argument("service")
@click.option("--environment", default="production", show_default=True)
@click.option("--component", help="Component [default: the release as a whole].")
@click.option("--criticality", type=click.Choice(CRITICALITIES[1:]))
@click.option("--effects", is_flag=True, help="Say with each value which way it moves.")
@rules_option
@json_option
@explained
def explain(
    service: str,
    environment: str,
    component: str | None,
    criticality: str | None,
    effects: bool,
    rules_file: Path | None,
    as_json: bool,
) -> None:
    """Say which rule judges releases of SERVICE, why, and what its values mean."""
    for name in filter(None, (service, environment, component)):
        if not re.fullmatch(NAME_PATTERN, name):
            raise Refused(f"{name!r} is no name: letters, digits and . _ + / @ : -")
    source = str(rules_file) if rules_file else DEFAULT_RULES
    text = read_text(rules_file) if rules_file else default_rules_text()
    place = Place(service, environment, component, criticality)
    found = explain_rules(load_rules(text, source=source), text, place)
    if as_json:
        click.echo(json.dumps(_as_dict(source, place, found)))
        return
    _show(source, place, found, effects)


def _show(source: str, place: Place, found: Explanation, effects: bool) -> None:
    where = f"{source}:{found.line}" if found.line else "no rule fits: the defaults"
    click.echo(f"{place_names(place)}: rule {found.rule.name} ({where})")
    if found.rule.owner:
        click.echo(f"owner: {found.rule.owner}")
    if found.rule.why:
        click.echo(f"why: {' '.join(found.rule.why.split())}")
    for passed in found.passed:
        because = "; ".join(passed.because)
        click.echo(f"not {passed.rule} ({source}:{passed.line}): {because}")
    click.echo("\nWhat it means")
    for words in found.meaning:
        click.echo(f"  {words}")
    click.echo("\nValues")
    for key, value, unit, line, effect in found.settings:
        if key in ("name", "owner", "why"):
            continue
        origin = f"line {line}" if line else "default"
        click.echo(f"  {key:34} {shown(value, unit):24} {origin}")
        if effects and effect:
            click.echo(f"      {effect}")


def _as_dict(source: str, place: Place, found: Explanation) -> dict[str, object]:
    return {
        "source": source,
        **place._asdict(),
        "rule": found.rule.name,
        "line": found.line,
        "owner": found.rule.owner,
        "why": found.rule.why,
        "passed": [passed._asdict() for passed in found.passed],
        "meaning": list(found.meaning),
        "settings": [setting._asdict() for setting in found.settings],
    }
