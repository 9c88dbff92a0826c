"""``hypercare rules precision``: how often each rule was right, as people said."""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path

import click

from detector.backtest import Share, courses_of, judge
from detector.backtest.precision import Labels, Precision, precision_by_rule
from streams.cli.common import (
    json_option,
    lines_of,
    read_rules,
    rules_option,
    settings,
)
from streams.cli.exits import explained
from streams.errors import Refused

audit_option = click.option(
    "--audit",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    help="JSON lines of the audit topic, or a recording of the log [default: Kafka].",
)


@click.command()
@audit_option
@rules_option
@json_option
@explained
def precision(audit: Path | None, rules_file: Path | None, as_json: bool) -> None:
    """Count by rule what people said of recommendations (`hypercare label`).

    Precision is the share of right (and late) ones among those labelled, with its
    exact 95 % interval. A recording of the log holds labels, but no recommendations:
    those are decided anew, with the rules of the recording or --rules.
    """
    labels = read_labels(audit, rules_file)
    found = precision_by_rule(labels)
    if as_json:
        for one in found:
            click.echo(json.dumps(_as_dict(one)))
        return
    if not found:
        click.echo("no recommendations")
    for line in table(found):
        click.echo(line)
    unlabelled = sum(one.unlabelled for one in found)
    if unlabelled:
        click.echo(
            f"{unlabelled} without a label: hypercare label ID right, wrong or late. "
            "If only the wrong ones are labelled, rules look worse than they are."
        )
    if labels.unknown:
        some = ", ".join(labels.unknown[:3])
        click.echo(f"{len(labels.unknown)} labels of unknown recommendations: {some}")
    if labels.unreadable:
        click.echo(f"{labels.unreadable} lines could not be read", err=True)


def read_labels(source: Path | None, rules_file: Path | None) -> Labels:
    """Labels and recommendations of the audit, of a recording, or of Kafka."""
    labels = Labels()
    lines = _topic() if source is None else lines_of(source)
    head = list(islice(lines, 20))
    whole: Iterator[bytes] = chain(head, lines)
    if any(b'"kind"' in line for line in head):
        kept = list(whole)
        labels.judged(courses_of(judge(kept, read_rules(rules_file))))
        whole = iter(kept)
    labels.read(whole)
    if labels.unreadable and not labels.recommended:
        raise Refused(f"{source}: no recommendations, and lines that are no JSON")
    return labels


def _topic() -> Iterator[bytes]:
    from streams.logreader import open_partitions

    now = settings()
    partitions = open_partitions(now, now.topic("audit"))
    merged = heapq.merge(*partitions, key=lambda stored: stored.timestamp)
    return (stored.value for stored in merged if stored.value is not None)


def table(found: Iterable[Precision]) -> Iterator[str]:
    """Lines of a table, a rule each."""
    form = "{:28} {:>8} {:>6} {:>5} {:>6} {:>10}  {}"
    yield form.format(
        "rule", "recomm.", "right", "late", "wrong", "unlabelled", "precision"
    )
    for one in found:
        yield form.format(
            one.rule,
            one.recommended,
            one.right,
            one.late,
            one.wrong,
            one.unlabelled,
            in_words(one.precision),
        )


def in_words(found: Share) -> str:
    """A share with its interval, in percent."""
    if found.value is None:
        return "unknown"
    return f"{found.value:.0%} ({found.low:.0%} to {found.high:.0%})"


def _as_dict(one: Precision) -> dict[str, object]:
    said = one.precision
    measured = {"value": said.value, "low": said.low, "high": said.high}
    return {**one._asdict(), "precision": measured}
