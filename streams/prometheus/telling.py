"""What an import found, for the person who started it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from streams.backtest.outcome import clock
from streams.prometheus.convert import SourceLines
from streams.prometheus.importing import Import

SHOWN_MAX = 5
GAUGE_SHARE = 0.01
"""Falls in a larger share of the differences than this are no restarts."""


def summary(done: Import) -> Iterator[str]:
    """Lines about series, windows, gaps and releases."""
    span = done.span
    yield f"{span.name}, windows of {span.step_s} s"
    for selector, number in done.series.items():
        yield f"{number} series of {selector}"
    requests = sum(one.requests for one in done.sources)
    failures = sum(one.failures for one in done.sources)
    yield (
        f"{done.lines:,} events in {span.windows:,} windows: {requests:,} requests, "
        f"{failures:,} failed"
    )
    yield from _left_out(done)
    for one in done.sources:
        yield from _of_source(one)
    yield from _releases(done)


def _left_out(done: Import) -> Iterator[str]:
    counters = [x for one in done.sources for x in (one.asked, one.failed)]
    resets, gaps = sum(x.resets for x in counters), sum(x.gaps for x in counters)
    dropped = len(set().union(*(x.dropped for x in counters)))
    yield (
        f"{resets} resets, {gaps} gaps; {done.silent} windows without any sample; "
        f"counts left out because of gaps in {dropped} windows "
        f"({dropped * done.span.step_s} s)"
    )


def _of_source(one: SourceLines) -> Iterator[str]:
    if one.clipped:
        yield (
            f"{one.clipped:,} failures beyond the requests with the same labels in "
            "their window were left out: failures must be a part of requests"
        )
    if one.nameless:
        yield f"{one.nameless:,.0f} counts without service or release were left out"
    for reason, number in Counter(one.namer.unnamed.values()).most_common(SHOWN_MAX):
        yield f"{number} series left out, {reason}"
    if one.asked.resets > GAUGE_SHARE * max(100, one.asked.differences):
        yield "the requests fall often: is that a counter?"


def _releases(done: Import) -> Iterator[str]:
    for (service, environment), seen in sorted(done.releases.seen.items()):
        for release, one in sorted(seen.items(), key=lambda x: (x[1].first_ms, x[0])):
            told = "there before"
            if one.deploy_ms is not None:
                told = f"deploy at {clock(one.deploy_ms)}, after {one.predecessor}"
            elif one.first_at > 0:
                told = "no deploy: it was there within the lookback, or is the first"
            yield (
                f"{service} {environment} {release}: {clock(one.first_ms)} to "
                f"{clock(one.last_ms)}, {told}"
            )
