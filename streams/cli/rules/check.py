"""``hypercare rules check``: is a rule file whole and valid?"""

from __future__ import annotations

import json
from pathlib import Path

import click

from detector.rulefile import Problem, check_text
from streams.cli.common import json_option, read_rules, read_text
from streams.cli.exits import Exit, explained
from streams.rulesdata import DEFAULT_RULES, default_rules_text


@click.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@json_option
@explained
def check(files: tuple[Path, ...], as_json: bool) -> None:
    """Check rule FILES (default: the shipped ones); every problem with its place.

    Exit code 0 when all are valid, 3 when problems were found.
    """
    texts = {str(path): read_text(path) for path in files}
    if not files:
        texts = {DEFAULT_RULES: default_rules_text()}
    found = 0
    for source, text in texts.items():
        problems = check_text(text, source)
        found += len(problems)
        if as_json:
            click.echo(json.dumps(_as_dict(source, text, problems)))
        elif problems:
            for problem in problems:
                click.echo(str(problem), err=True)
        else:
            one = read_rules(Path(source) if files else None)
            click.echo(f"{source}: {len(one.rules)} rules, hash {one.hash[:12]}: valid")
    raise SystemExit(Exit.FOUND if found else Exit.DONE)


def _as_dict(source: str, text: str, problems: list[Problem]) -> dict[str, object]:
    return {
        "source": source,
        "valid": not problems,
        "problems": [
            {
                "line": p.line,
                "column": p.column,
                "message": p.message,
                "hint": p.hint,
            }
            for p in problems
        ],
    }
