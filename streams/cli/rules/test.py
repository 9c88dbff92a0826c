"""``hypercare rules test``: do the rules say what their owners expect?"""

from __future__ import annotations

import json
from pathlib import Path

import click

from detector.rulefile import RuleFileError, RuleSet
from detector.rulefile.errors import Problem
from detector.ruletest import Failure, Loaded, Result, load_tests, run_test
from streams.cli.common import json_option, read_rules, read_text
from streams.cli.exits import Exit, explained
from streams.errors import Refused


@click.command()
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(path_type=Path, dir_okay=False)
)
@click.option(
    "--rules",
    "rules_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Test this rule file instead of those that FILES name.",
)
@click.option("--only", help="Only tests whose name holds this text.")
@json_option
@explained
def test(
    files: tuple[Path, ...], rules_file: Path | None, only: str | None, as_json: bool
) -> None:
    """Run the tests of rules in FILES; nothing is drawn unless a test gives a seed.

    Exit code 0 when all is as expected, 3 when it is not, 2 when a file is wrong.
    """
    loaded = _load(files)
    sets = {one.source: _rules_of(one, rules_file) for one in loaded}
    run, failed = 0, 0
    for one in loaded:
        for case, lines in zip(one.file.tests, one.lines, strict=True):
            if only is not None and only not in case.name:
                continue
            found = run_test(case, lines, one.file.interval, sets[one.source])
            run += 1
            failed += bool(found.failures)
            if as_json:
                click.echo(json.dumps(_as_dict(one.source, found)))
            else:
                _show(one.source, found)
    if not run:
        raise Refused(f"no test's name holds {only!r}: leave --only out to see all")
    if not as_json:
        wrong = f", {failed} failed" if failed else ": all as expected"
        click.echo(f"{run} test{'s' * (run != 1)}{wrong}")
    raise SystemExit(Exit.FOUND if failed else Exit.DONE)


def _load(files: tuple[Path, ...]) -> list[Loaded]:
    """Every file, or the problems of all of them at once."""
    loaded: list[Loaded] = []
    problems: list[Problem] = []
    for path in files:
        try:
            loaded.append(load_tests(read_text(path), source=str(path)))
        except RuleFileError as error:
            problems += error.problems
    if problems:
        raise RuleFileError(problems)
    return loaded


def _rules_of(one: Loaded, given: Path | None) -> RuleSet:
    if given is not None or one.file.rules is None:
        return read_rules(given)
    path = Path(one.source).parent / one.file.rules
    try:
        return read_rules(path)
    except Refused as error:
        message = f"{one.source}: rules: {error}; paths begin at the file of tests"
        raise Refused(message) from error


def _show(source: str, result: Result) -> None:
    word = click.style("FAIL", fg="red") if result.failures else "ok  "
    click.echo(f"{word} {source}:{result.line}: {result.name}")
    for failure in result.failures:
        click.echo(f"  {source}:{failure.line}: {failure.what}")
        for line in failure.expected:
            click.echo("    " + click.style(f"- {line}", fg="green"))
        for line in failure.said:
            click.echo("    " + click.style(f"+ {line}", fg="red"))
        if failure.course:
            click.echo("    what was said:")
            for line in failure.course:
                click.echo(f"    {line}")


def _as_dict(source: str, result: Result) -> dict[str, object]:
    return {
        "source": source,
        "line": result.line,
        "test": result.name,
        "passed": not result.failures,
        "expectations": result.expectations,
        "failures": [_failure(failure) for failure in result.failures],
    }


def _failure(failure: Failure) -> dict[str, object]:
    return {
        "line": failure.line,
        "what": failure.what,
        "expected": list(failure.expected),
        "said": list(failure.said),
        "course": [line.strip() for line in failure.course],
    }
