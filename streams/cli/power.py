"""``hypercare power``: which harm is found in this traffic, and how soon?"""

from __future__ import annotations

import json
from collections.abc import Iterator
from math import isfinite
from pathlib import Path
from typing import Any

import click

from detector.backtest import Share
from detector.engine import Partition
from detector.power import (
    Answer,
    Begun,
    Smallest,
    Traffic,
    begun_of,
    errors_share,
    learn,
    plain_traffic,
    plan,
    smallest,
    under_way,
)
from detector.power.answers import HOUR_S, RATIOS, SHARES, TIMES_S
from detector.replay import Replay
from detector.rulefile import Rule, RuleSet
from streams.cli.common import (
    Progress,
    json_option,
    lines_of,
    read_rules,
    rules_option,
    settings,
)
from streams.cli.exits import explained
from streams.cli.status import ask
from streams.errors import Refused

BATCH = 500


@click.command()
@click.argument("service")
@click.option(
    "--history",
    type=click.Path(path_type=Path, allow_dash=True),
    help="Recorded lines of the log: traffic is learnt from them.",
)
@click.option("--topic", is_flag=True, help="Learn from the log in Kafka instead.")
@click.option(
    "--sessions-per-minute",
    type=click.FloatRange(min=0, min_open=True),
    help="Without a history: sessions a minute of all releases.",
)
@click.option(
    "--error-rate",
    type=click.FloatRange(0, 0.95, min_open=True),
    help="Without a history: share of the sessions that fail.",
)
@click.option(
    "--attr",
    "attrs",
    multiple=True,
    metavar="NAME=VALUE:SHARE,...",
    help="Without a history: an attribute and the shares of its values; repeatable.",
)
@click.option(
    "--signals",
    default="errors",
    show_default=True,
    help="Without a history: signals that the service sends, with commas.",
)
@click.option(
    "--share",
    "shares",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    multiple=True,
    help="Share of the traffic of the release; repeatable [default: .05, .25, .5].",
)
@click.option(
    "--ratio",
    "ratios",
    type=click.FloatRange(0, 100, min_open=True),
    multiple=True,
    help="How many times as often sessions fail; repeatable.",
)
@click.option(
    "--deploy-hour",
    type=click.FloatRange(0, 24, max_open=True),
    help="Hour of the day (UTC) of the deploy [default: any].",
)
@click.option("--release", help="A release under way: when will it be known?")
@click.option("--environment", default="production", show_default=True)
@click.option(
    "--releases",
    type=click.IntRange(20, 100_000),
    help="Simulated releases of each cell [default: 100 to 400, as time allows].",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@rules_option
@json_option
@explained
def power(
    service: str,
    history: Path | None,
    topic: bool,
    sessions_per_minute: float | None,
    error_rate: float | None,
    attrs: tuple[str, ...],
    signals: str,
    shares: tuple[float, ...],
    ratios: tuple[float, ...],
    deploy_hour: float | None,
    release: str | None,
    environment: str,
    releases: int | None,
    seed: int,
    rules_file: Path | None,
    as_json: bool,
) -> None:
    """Say which harm SERVICE's releases would be taken back for, and how soon.

    Traffic comes from --history, --topic, or --sessions-per-minute and --error-rate;
    with --release alone from the worker that judges it. Answers by simulation with
    the evidence that runs live; every probability stands with its 95 % interval.
    """
    rules = read_rules(rules_file)
    rule = rules.rule_for(service, environment)
    begun: Begun | None = None
    if history is not None or topic:
        partition = _replayed(history, rules)
        try:
            traffic = learn(partition, service)
            if release is not None:
                begun = begun_of(partition, service, release)
        except LookupError as error:
            raise Refused(str(error.args[0])) from error
    elif sessions_per_minute is not None and error_rate is not None:
        share = errors_share(rule, _signals(signals, rule))
        traffic = plain_traffic(
            sessions_per_minute, error_rate, _attrs(attrs), errors_share=share
        )
        if release is not None:
            begun = _from_worker(service, environment, release)[0]
    elif release is not None:
        begun, told = _from_worker(service, environment, release)
        traffic = _traffic_of(begun, errors_share(rule, told))
    else:
        raise Refused(
            "no traffic given: use --history FILE, --topic, --release NAME of a "
            "running worker, or --sessions-per-minute and --error-rate"
        )
    more: dict[str, Any] = {"releases": releases, "seed": seed}
    more["deploy_hour"] = deploy_hour
    chosen = tuple(ratios) or RATIOS
    least: list[Smallest] = []
    if begun is not None:
        answers = under_way(traffic, rule, begun, ratios=chosen, **more)
    else:
        answers = plan(traffic, rule, ratios=chosen, shares=shares or SHARES, **more)
        place = TIMES_S.index(int(HOUR_S))
        least = smallest(traffic, rule, answers, place=place, **more)
    if as_json:
        click.echo(json.dumps(_as_dict(traffic, rule, begun, answers, least)))
        return
    for line in lines(service, traffic, rule, begun, answers, least):
        click.echo(line)


def lines(
    service: str,
    traffic: Traffic,
    rule: Rule,
    begun: Begun | None,
    answers: list[Answer],
    least: list[Smallest],
) -> Iterator[str]:
    """The answer for a terminal."""
    count = answers[0].by[0].of
    series = len(traffic.series()[0])
    yield (
        f"{service}: {traffic.sessions_per_min:,.0f} sessions a minute, "
        f"{traffic.error_rate:.2%} fail, {series} series"
    )
    yield (
        f"rule {rule.name}: margin {rule.signals['errors'].margin:g}, "
        f"alpha {rule.alpha:g}, persistence {rule.persistence_ms // 1000} s, "
        f"at least {rule.min_exposure} sessions each; window {rule.window_s} s, "
        f"grace {rule.grace_s} s"
    )
    if begun is not None:
        yield (
            f"so far, in {duration(begun.age_s)}: {begun.bad:.0f} of {begun.units:.0f} "
            f"failed, beside it {begun.bad_control:.0f} of {begun.units_control:.0f}"
        )
    since = "from now" if begun is not None else "after the deploy"
    yield f"\nTaken back by then, in %, {since} (95 % interval; {count} releases a row)"
    times = "".join(f"{duration(t):>16}" for t in TIMES_S)
    yield f"{'share':>6}{'ratio':>7}{times}{'median':>9}  evidence + lasts + pipeline"
    for a in answers:
        if a.cell.ratio == 1.0:
            continue
        cells = "".join(f"{percent(b):>16}" for b in a.by)
        split = ""
        if isfinite(a.median_s):
            parts = (a.evidence_s, a.persistence_s, a.pipeline_s)
            split = " + ".join(duration(p) for p in parts)
        head = f"{a.cell.share:>6.1%}{a.cell.ratio:>7g}{cells}"
        yield f"{head}{duration(a.median_s):>9}  {split}".rstrip()
    yield f"\nA release as good as the others, {since}"
    yield f"{'share':>6}{'':>7}{times}{'median':>9}"
    for a in answers:
        if a.cell.ratio == 1.0:
            called = "".join(f"{percent(b):>16}" for b in a.healthy_by)
            wrong = "".join(f"{percent(b):>16}" for b in a.by)
            head = f"{a.cell.share:>6.1%}{'called':>7}{called}"
            yield f"{head}{duration(a.healthy_s):>9}  healthy"
            yield f"{'':>6}{'taken':>7}{wrong}{'':>9}  back, wrongly"
    if least:
        yield "\nSmallest ratio taken back within an hour"
        by_share: dict[float, list[str]] = {}
        for one in least:
            told = f"{one.ratio:.2f}" if one.ratio else "above 40"
            by_share.setdefault(one.share, []).append(f"{told} ({one.level:.0%})")
        for share, words in by_share.items():
            yield f"{share:>6.1%}  {', '.join(words)}"


def duration(seconds: float) -> str:
    """Seconds in the unit that people would use."""
    if not isfinite(seconds):
        return "-"
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.0f} s"


def percent(part: Share) -> str:
    """A probability with its interval, in percent."""
    value = part.value or 0.0
    return f"{100 * value:.0f} ({100 * part.low:.0f}-{100 * part.high:.0f})"


def _replayed(history: Path | None, rules: RuleSet) -> Partition:
    run, progress = Replay(rules), Progress("lines")
    if history is None:
        from streams.logreader import topic_lines

        source = topic_lines(settings())
    else:
        source = lines_of(history)
    chunk: list[bytes] = []
    for line in source:
        progress.step()
        chunk.append(line)
        if len(chunk) == BATCH:
            run.partition.apply(run.records(chunk))
            chunk = []
    run.partition.apply(run.records(chunk))
    progress.done()
    return run.partition


def _from_worker(
    service: str, environment: str, release: str
) -> tuple[Begun, list[str]]:
    """What a running worker knows of a release, and by which signals."""
    conf = settings()
    body = ask(conf.web_host, conf.web_port)
    judged = body.get("releases", [])
    for one in judged:
        same = one["service"] == service and one["environment"] == environment
        if not same or one["release"] != release or one["component"] is not None:
            continue
        by_name = {s["signal"]: s for s in one["signals"]}
        own = by_name["errors"]
        age_ms = (one["evaluated_ms"] or one["started_ms"]) - one["started_ms"]
        begun = Begun(
            max(0.0, age_ms / 1000),
            own["units"],
            own["bad"],
            own["units_control"],
            own["bad_control"],
        )
        return begun, sorted({name.partition(":")[0] for name in by_name})
    known = [f"{r['service']}/{r['environment']}/{r['release']}" for r in judged]
    raise Refused(
        f"the worker does not judge {service}/{environment}/{release}: it judges "
        f"{', '.join(known) or 'none'}"
    )


def _traffic_of(begun: Begun, share: float) -> Traffic:
    """Traffic as a release under way has met it, without segments and hours."""
    total = begun.units + begun.units_control
    if begun.age_s <= 0 or not (begun.units and begun.bad_control):
        raise Refused(
            f"too little is known: {begun.units:.0f} sessions of the release and "
            f"{begun.bad_control:.0f} failed ones beside it in {begun.age_s:.0f} s; "
            "wait, or give --history, or --sessions-per-minute and --error-rate"
        )
    rate = begun.bad_control / begun.units_control
    return plain_traffic(total / (begun.age_s / 60), rate, errors_share=share)


def _attrs(given: tuple[str, ...]) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for text in given:
        name, _, values = text.partition("=")
        try:
            pairs = [each.rpartition(":") for each in values.split(",")]
            shares = {value: float(share) for value, _, share in pairs}
        except ValueError:
            shares = {}
        if not (name and shares and all(v and s > 0 for v, s in shares.items())):
            raise Refused(f"--attr {text!r}: write it like os=android:0.6,ios:0.4")
        found[name] = shares
    return found


def _signals(text: str, rule: Rule) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    beside = ("errors", "latency", "steps", "feedback")
    for name in names:
        if name not in beside:
            raise Refused(f"--signals {name}: choose from {', '.join(beside)}")
    return names


def _as_dict(
    traffic: Traffic,
    rule: Rule,
    begun: Begun | None,
    answers: list[Answer],
    least: list[Smallest],
) -> dict[str, Any]:
    def seconds(value: float) -> float | None:
        return round(value, 1) if isfinite(value) else None

    def shares(found: tuple[Share, ...]) -> list[dict[str, Any]]:
        return [
            {"within_s": t, "share": s.value, "low": s.low, "high": s.high}
            for t, s in zip(TIMES_S, found, strict=True)
        ]

    return {
        "rule": rule.name,
        "sessions_per_min": traffic.sessions_per_min,
        "error_rate": traffic.error_rate,
        "series": len(traffic.series()[0]),
        "begun": begun._asdict() if begun else None,
        "releases": answers[0].by[0].of,
        "cells": [
            {
                "ratio": a.cell.ratio,
                "share": a.cell.share,
                "taken_back": shares(a.by),
                "healthy": shares(a.healthy_by),
                "median_s": seconds(a.median_s),
                "evidence_s": seconds(a.evidence_s),
                "persistence_s": seconds(a.persistence_s),
                "pipeline_s": seconds(a.pipeline_s),
                "healthy_median_s": seconds(a.healthy_s),
            }
            for a in answers
        ],
        "smallest": [one._asdict() for one in least],
    }
