"""Lines of an import: what is new, what was there, whose it is."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import pytest

from detector.decode import decode
from streams.prometheus.convert import Releases, SourceLines
from streams.prometheus.counters import Increases, Series, SeriesTable, Targets
from streams.prometheus.importing import interval_of
from streams.prometheus.mapping import Part, Source
from streams.prometheus.naming import Lookup, Namer, Whose

TABLE = SeriesTable()
SOURCE = Source(
    "requests_total",
    "failures_total",
    Part(label="job"),
    Part(const="production"),
    Part(label="version"),
    attrs=(("region", Part(label="region")),),
)


def series(instance: str = "a", **labels: str) -> Series:
    """A series of a process of the shop."""
    return TABLE.of({"job": "shop", "instance": instance, "version": "1", **labels})


def whose(release: str) -> Whose:
    """A release of the shop."""
    return Whose("shop", "production", release)


def counted(
    *steps: Mapping[Series, float], known: tuple[Series, ...] = ()
) -> Increases:
    """Increases over some boundaries, from the first on."""
    increases, targets = Increases(), Targets(known)
    for at, present in enumerate(steps):
        increases.step(at, present, targets)
        targets.note(at, present)
    return increases


def test_new_process_counts_from_zero() -> None:
    """Somebody looked before it was there: all that it shows is new."""
    increases, targets = Increases(), Targets()
    old, new = series("a"), series("b")
    targets.note(0, [old])
    increases.step(0, {old: 5.0}, targets)
    assert {old: 1.0, new: 7.0} == increases.step(1, {old: 6.0, new: 7.0}, targets)


def test_process_known_before_the_range_is_a_base() -> None:
    """It was not scraped at the start: nobody knows when it counted that."""
    old, known = series("a"), series("b")
    found = counted({old: 5.0}, {old: 6.0, known: 900.0}, known=(old, known))
    assert (1, {1}) == (found.gaps, found.dropped)


def test_process_that_came_while_nobody_looked_is_a_base() -> None:
    """After a gap of Prometheus itself a new process may have counted all along."""
    old, new = series("a"), series("b")
    assert 2 == counted({old: 5.0}, {}, {old: 6.0, new: 7.0}).gaps


def test_recorded_series_that_returns_is_a_base() -> None:
    """Series without an instance stand for themselves: others tell nothing of them."""
    one, other = TABLE.of({"route": "/a"}), TABLE.of({"route": "/b"})
    found = counted({one: 5.0, other: 5.0}, {other: 6.0}, {one: 9.0, other: 7.0})
    assert (1, {1, 2}) == (found.gaps, found.dropped)


def test_failures_never_exceed_requests() -> None:
    """What has no requests with the same labels is counted, not written."""
    lines = SourceLines(SOURCE, Namer(SOURCE, {}), [])
    lines.window(0, 0, 10, {series(): 5.0}, {series(): 1.0})
    (line,) = lines.window(1, 10_000, 10, {series(): 9.0}, {series(): 7.0})
    assert (4, {"ok": 0, "server_error": 4}) == (line["count"], line["outcomes"])
    assert 2 == lines.clipped


def fields_of(source: Source) -> dict[str, object]:
    """What a source is made of."""
    return {name: getattr(source, name) for name in source.__struct_fields__}


def test_lines_are_events_of_the_log() -> None:
    """Every line is accepted, and says the same twice."""
    for unit in ("request", "session"):
        source = Source(
            **{**fields_of(SOURCE), "unit": unit, "component": Part(const="w")}
        )
        made = []
        for _ in range(2):
            lines = SourceLines(source, Namer(source, {}), [])
            lines.window(0, 0, 10, {series(region="eu"): 5.0}, {})
            made.append(lines.window(1, 10_000, 10, {series(region="eu"): 9.0}, {}))
        assert made[0] == made[1]
        items = list(decode(msgspec.json.encode(made[0])))
        assert [unit] == [item.unit for item in items]


@pytest.mark.parametrize(
    ("labels", "said"),
    [({"version": ""}, "release: missing"), ({"version": "a b"}, "'a b' is no name")],
)
def test_series_without_a_name_are_left_out(labels: dict[str, str], said: str) -> None:
    """A label that is empty or no name leaves the series out, with the reason."""
    namer = Namer(SOURCE, {})
    assert namer.whose(series(**labels)) is None
    assert [said in reason for reason in namer.unnamed.values()] == [True]
    lines = SourceLines(SOURCE, namer, [])
    for at, value in enumerate([5.0, 9.0]):
        assert [] == lines.window(at, at * 10_000, 10, {series(**labels): value}, {})
    assert 4.0 == lines.nameless


def test_info_metric_says_which_version_runs_now() -> None:
    """In the window of a deploy both are there; the one seen later is what runs."""
    part = Part(label="version", info="build_info", by=("instance",))
    source = Source("r", "f", Part(const="shop"), Part(const="live"), part)
    lookup = Lookup(part)
    namer = Namer(source, {part: lookup})
    old, new = series("a", version="2"), series("a", version="1")
    heard = []
    for at, present in enumerate([[old], [new, old], [old, new], [new], [old]]):
        lookup.note(at, present)
        found = namer.whose(TABLE.of({"instance": "a"}))
        heard.append(found.release if found else None)
    assert ["2", "1", "1", "1", "2"] == heard
    assert {("shop", "live", "1"), ("shop", "live", "2")} == set(
        namer.ever(TABLE.of({"instance": "a"}))
    )


def test_new_release_is_a_deploy_after_what_served_most() -> None:
    """Of two that were there before, the one with more processes is the baseline."""
    releases = Releases()
    before = [(whose("1"), "a"), (whose("1"), "b"), (whose("2"), "c")]
    assert [] == releases.window(0, -10_000, 10, before)
    (deploy,) = releases.window(1, 0, 10, [*before, (whose("3"), "d")])
    assert ("3", "1", 0) == (deploy["release"], deploy["predecessor"], deploy["ts"])
    assert [] == releases.window(2, 10_000, 10, [(whose("3"), "d")])


def test_release_known_before_or_alone_is_no_deploy() -> None:
    """What was there within the lookback is not new; the first replaced nothing."""
    releases = Releases()
    releases.know([("shop", "production", "2")])
    releases.window(0, -10_000, 10, [(whose("1"), "a")])
    first = Whose("mail", "production", "9")
    assert [] == releases.window(1, 0, 10, [(whose("2"), "b"), (first, "c")])


@pytest.mark.parametrize("interval_s", [1, 5, 10, 15, 20, 30, 60, 120, 300])
def test_scrape_interval_is_found_from_counts(interval_s: int) -> None:
    """A span holds one sample more where its both ends are samples."""
    whole = 600 // interval_s
    assert {interval_s} == {interval_of(whole), interval_of(whole + 1)}
