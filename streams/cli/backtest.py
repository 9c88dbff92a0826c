"""``hypercare backtest``: recorded history against rule sets, and how good."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from detector.backtest import Label, Part, read_labels, rows_of, summary_of
from detector.backtest.labels import labels_of_people
from detector.rulefile import RuleSet
from streams.backtest.outcome import (
    Outcome,
    against_first,
    covered_ms,
    json_of,
    trial_of,
)
from streams.backtest.pool import judged
from streams.backtest.spool import Spooled, spool
from streams.cli.common import Progress, json_option, lines_of, read_rules, read_text
from streams.cli.exits import Exit, explained
from streams.errors import Refused

PATH = click.Path(path_type=Path, dir_okay=False)
SHARE = click.FloatRange(0, 1)


@click.command()
@click.argument("source", type=click.Path(path_type=Path, allow_dash=True), default="-")
@click.option("--topic", is_flag=True, help="Read the log from Kafka instead.")
@click.option(
    "--rules",
    "files",
    type=PATH,
    multiple=True,
    help="Rule file; once for each rule set, the first is the one that others are "
    "compared with [default: the shipped rules].",
)
@click.option(
    "--labels", "labels_file", type=PATH, help="Labelled releases (JSONL, YAML)."
)
@click.option(
    "--unlabelled",
    type=click.Choice(["ignore", "healthy"]),
    default="ignore",
    show_default=True,
    help="What releases are that nobody labelled.",
)
@click.option(
    "--onset-tolerance",
    "tolerance_s",
    type=click.IntRange(0),
    default=300,
    show_default=True,
    help="Seconds that a decision may come before a labelled onset.",
)
@click.option(
    "--as-recorded",
    is_flag=True,
    help="Keep the rule sets of the history: each takes the place of the one before.",
)
@click.option(
    "--jobs", type=click.IntRange(1), help="Processes [default: one for each core]."
)
@click.option("--html", type=PATH, help="Write a page with plots there.")
@json_option
@click.option(
    "--fail-on-change", is_flag=True, help="Exit code 3 if rule sets disagree."
)
@click.option("--fail-under-recall", type=SHARE, help="Exit code 3 if one has less.")
@click.option(
    "--fail-over-false", type=SHARE,
    help="Exit code 3 if one takes back a larger share of the healthy releases.",
)  # fmt: skip
@explained
def backtest(
    source: Path, topic: bool, files: tuple[Path, ...], labels_file: Path | None,
    unlabelled: str, tolerance_s: int, as_recorded: bool, jobs: int | None,
    html: Path | None, as_json: bool, fail_on_change: bool,
    fail_under_recall: float | None, fail_over_false: float | None,
) -> None:  # fmt: skip
    """Judge SOURCE, a recorded history, by rule sets, and say how good they were.

    SOURCE is what `hypercare record` wrote, or - for standard input. With --labels, or
    labels that people gave with `hypercare label`, precision, recall and time to detect
    are told. Exit code 3 only where a --fail option asks for it.
    """
    rulesets = _rulesets(files, as_recorded)
    labels = (
        read_labels(read_text(labels_file), str(labels_file)) if labels_file else []
    )
    with tempfile.TemporaryDirectory(prefix="hypercare-") as folder:
        spooled = _spooled(source, topic, Path(folder), as_recorded)
        found = _judged(spooled, [r for _, r in rulesets], jobs or os.cpu_count() or 1)
    outcome = Outcome(
        "the log in Kafka" if topic else str(source),
        spooled.lines,
        max(sum(part.refused for part in parts) for parts in found),
        *covered_ms(found[0]),
        spooled.rulesets,
        [],
        [],
        [],
    )
    labels = _with_people(labels, spooled, found)
    for (name, rules), parts in zip(rulesets, found, strict=True):
        rows, absent = rows_of(
            parts,
            labels,
            unlabelled_healthy=unlabelled == "healthy",
            onset_tolerance_ms=tolerance_s * 1000,
        )
        outcome.labels_without_release = absent
        outcome.trials.append(trial_of(name, rules.hash, rows, summary_of(rows)))
    outcome.against = against_first(outcome.trials)
    _show(outcome, html, as_json)
    _judge_by(outcome, fail_on_change, fail_under_recall, fail_over_false)


def _rulesets(files: Sequence[Path], as_recorded: bool) -> list[tuple[str, RuleSet]]:
    if as_recorded and len(files) > 1:
        raise Refused(
            "--as-recorded judges by the rule sets of the history: give at most one "
            "--rules, the file that the worker had started with"
        )
    if not files:
        return [("shipped rules", read_rules(None))]
    names = [path.name for path in files]
    if len(set(names)) < len(names):
        names = [str(path) for path in files]
    if len(set(names)) < len(names):
        raise Refused("--rules: the same file is given twice: name each once")
    return [(n, read_rules(p)) for n, p in zip(names, files, strict=True)]


def _spooled(source: Path, topic: bool, folder: Path, as_recorded: bool) -> Spooled:
    progress = Progress("lines")
    lines = _topic_lines() if topic else lines_of(source)

    def counted() -> Iterator[bytes]:
        for line in lines:
            progress.step()
            yield line

    made = spool(counted(), folder, as_recorded=as_recorded)
    progress.done()
    return made


def _topic_lines() -> Iterator[bytes]:
    from streams.cli.common import settings
    from streams.logreader import topic_lines

    return topic_lines(settings())


def _judged(spooled: Spooled, rulesets: list[RuleSet], jobs: int) -> list[list[Part]]:
    whole = sum(spooled.sizes.values()) * len(rulesets)
    shown = sys.stderr.isatty()
    with click.progressbar(
        length=whole, label="judging", file=sys.stderr, hidden=not shown
    ) as bar:
        return judged(spooled, rulesets, jobs, bar.update)


def _with_people(
    labels: Sequence[Label], spooled: Spooled, found: Sequence[Sequence[Part]]
) -> list[Label]:
    """Labels of the file, and those of people about releases that it leaves out."""
    known = {
        word.id: (word.component, word.episode_start_ms)
        for parts in reversed(found)
        for part in parts
        for told in part.releases
        for word in told.words
        if word.id and not word.is_verdict
    }
    given = {(one.service, one.environment, one.release) for one in labels}
    people = labels_of_people(spooled.said, known)
    return [
        *labels,
        *(p for p in people if (p.service, p.environment, p.release) not in given),
    ]


def _notes(outcome: Outcome) -> list[str]:
    """What has to be known about the figures."""
    notes = []
    if outcome.rulesets_left_out:
        notes.append(
            f"{outcome.rulesets_left_out} lines with rule sets of the history were "
            "left out: each rule file judges all of it (--as-recorded keeps them)"
        )
    if outcome.refused:
        notes.append(
            f"{outcome.refused} records were refused: `hypercare replay` names them"
        )
    for label in outcome.labels_without_release:
        notes.append(
            f"label of {label.service} {label.release} ({label.environment}): no such "
            "release in the history; it counts for nothing"
        )
    first = outcome.trials[0].summary
    if not first.harmful:
        notes.append(
            "no harmful release is labelled: no recall, no time to detect "
            "(--labels, or `hypercare label`)"
        )
    if first.unlabelled:
        notes.append(
            f"{first.unlabelled} releases without a label count neither for precision "
            "nor for false rollbacks (--unlabelled healthy)"
        )
    return notes


def _show(outcome: Outcome, html: Path | None, as_json: bool) -> None:
    notes = _notes(outcome)
    if html is not None:
        from streams.backtest.page import page_of

        made = page_of(outcome, notes, "hypercare backtest")
        try:
            html.write_text(made, encoding="utf-8")
        except OSError as error:
            raise Refused(
                f"{html}: {error}: name a file in a folder that is"
            ) from error
    for note in notes:
        click.echo(note, err=True)
    if as_json:
        sys.stdout.buffer.write(json_of(outcome) + b"\n")
        return
    from streams.backtest import sheets

    parts = [sheets.overview(outcome.trials)]
    for trial in outcome.trials:
        parts.append(sheets.groups("service", trial.by_service, trial.name))
        parts.append(sheets.groups("rule", trial.by_rule, trial.name))
        parts.append(sheets.releases(trial))
    parts += sheets.changed(outcome)
    click.echo("\n\n".join(sheets.text_of(part) for part in parts))


def _judge_by(
    outcome: Outcome, on_change: bool, recall: float | None, false: float | None
) -> None:
    problems = []
    if on_change and any(pair.differences for pair in outcome.against):
        problems.append("rule sets disagree")
    for trial in outcome.trials:
        found, wrong = trial.summary.recall.value, trial.summary.false_rollbacks.value
        if recall is not None and (found is None or found < recall):
            problems.append(f"{trial.name}: recall is {_shown(found)}, not {recall:g}")
        if false is not None and (wrong is None or wrong > false):
            problems.append(
                f"{trial.name}: {_shown(wrong)} of the healthy releases were taken "
                f"back, more than {false:g} or unknown"
            )
    for problem in problems:
        click.echo(f"hypercare: {problem}", err=True)
    raise SystemExit(Exit.FOUND if problems else Exit.DONE)


def _shown(value: float | None) -> str:
    return "unknown (no label)" if value is None else f"{value:.3g}"
