"""The dashboard asks only for what exists, and every question has an answer."""

from __future__ import annotations

import math
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from streams.kafka_local import free_ports
from streams.metrictable import METRICS, PREFIX
from tests.deploy.promql import (
    Query,
    dashboard,
    filled,
    panels,
    queries,
    selectors,
    variables,
)
from tests.deploy.scraped import Prometheus, Worker, configuration, shop_partition
from tests.rules.programs import monitoring_folder

ROOT = Path(__file__).resolve().parents[2]
FOREIGN = {"ALERTS", "up", "scrape_duration_seconds"}
"""Series that Prometheus makes itself."""
TARGET_LABELS = {"instance", "job", "pod", "container", "endpoint", "node"}
OWN_LABELS = TARGET_LABELS | {"le", "alertname", "alertstate"}
VALUES = {"service": "shop", "environment": "production", "release": "2.4.0"}

every_query = pytest.mark.parametrize("query", queries(), ids=lambda q: q.place)


def table_name(series: str) -> str:
    """Name in the table of metrics behind a series."""
    name = series.removeprefix(PREFIX)
    for end in ("_bucket", "_sum", "_count"):
        base = name.removesuffix(end)
        if name != base and base in METRICS and METRICS[base].kind == "histogram":
            return base
    return name


def labels_of(series: str) -> set[str]:
    """Labels that a series can have."""
    return set(METRICS[table_name(series)].labels) if series not in FOREIGN else set()


@every_query
def test_query_names_known_metrics(query: Query) -> None:
    """Every query parses and names only metrics of the table, with their labels."""
    found = list(selectors(filled(query.expr, VALUES)))
    assert found
    for selector in found:
        if selector.name not in FOREIGN:
            assert selector.name.startswith(PREFIX)
            assert table_name(selector.name) in METRICS
        used = {matcher.name for matcher in selector.matchers.matchers}
        assert used <= labels_of(selector.name) | OWN_LABELS


def test_wrong_query_is_found() -> None:
    """The parser is awake: what is no PromQL is refused."""
    with pytest.raises(ValueError, match="paren"):
        list(selectors("sum(up"))


def aggregations(node: Any) -> Iterator[Any]:
    """Every aggregation of a parsed query."""
    if isinstance(node, promql_parser.AggregateExpr):
        yield node
    for name in ("expr", "lhs", "rhs"):
        child = getattr(node, name, None)
        if child is not None:
            yield from aggregations(child)
    for child in getattr(node, "args", None) or ():
        yield from aggregations(child)


@every_query
def test_grouping_uses_known_labels(query: Query) -> None:
    """What is grouped by is a label of a metric in the query."""
    expr = filled(query.expr, VALUES)
    have = OWN_LABELS.union(*(labels_of(s.name) for s in selectors(expr)))
    for aggregation in aggregations(promql_parser.parse(expr)):
        modifier = aggregation.modifier
        if modifier is not None and modifier.type == promql_parser.AggModifierType.By:
            assert set(modifier.labels) <= have


@every_query
def test_worker_is_aggregated_away(query: Query) -> None:
    """No answer about releases or sources hangs on which worker gives it."""
    expr = filled(query.expr, VALUES)
    names = {s.name for s in selectors(expr)}
    if names <= FOREIGN or names == {"hypercare_build_info"}:
        return
    found = list(aggregations(promql_parser.parse(expr)))
    assert found
    for one in found:
        kind = one.modifier.type if one.modifier is not None else None
        if kind == promql_parser.AggModifierType.By:
            assert not set(one.modifier.labels) & TARGET_LABELS


def test_dashboard_has_four_rows() -> None:
    """Fleet by harm, one release, source coverage, engine, in this order."""
    rows = [p["title"] for p in dashboard()["panels"] if p["type"] == "row"]
    assert [row.split(":")[0] for row in rows] == [
        "Fleet by harm", "One release", "Source coverage", "Engine",
    ]  # fmt: skip


def test_variables_choose_one_release() -> None:
    """Service, environment and release can be chosen, and the data source."""
    names = [v["name"] for v in dashboard()["templating"]["list"]]
    assert names == ["datasource", *VALUES]
    for selector, label in variables().values():
        assert label in labels_of(next(selectors(filled(selector, VALUES))).name)


def test_every_alert_is_counted() -> None:
    """The panel of firing alerts knows the names of all shipped ones."""
    (expr,) = [q.expr for q in queries() if "vector(0)" in q.expr]
    (selector,) = selectors(expr)
    (names,) = [m.value for m in selector.matchers.matchers if m.name == "alertname"]
    text = (ROOT / "rules/prometheus/hypercare.yml").read_text(encoding="utf-8")
    for group in yaml.safe_load(text)["groups"]:
        for rule in group["rules"]:
            assert "record" in rule or re.fullmatch(names, rule["alert"])


def test_panels_do_not_overlap() -> None:
    """Panels have ids of their own and a place of their own."""
    everything = dashboard()["panels"]
    assert len({p["id"] for p in everything}) == len(everything)
    taken: set[tuple[int, int]] = set()
    for panel in everything:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


def test_panels_explain_themselves() -> None:
    """Every panel says what it shows, and uses the chosen data source."""
    for panel in panels():
        assert panel["description"].endswith("."), panel["title"]
        for target in panel["targets"]:
            assert target["datasource"]["uid"] == "${datasource}"


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Prometheus itself, with a minute of our metrics in it."""
    programs = monitoring_folder()
    folder = tmp_path_factory.mktemp("prometheus")
    worker = Worker(shop_partition())
    worker.start()
    assert worker.is_up.wait(10)
    (folder / "prometheus.yml").write_text(configuration(worker.web.port), "utf-8")
    port = free_ports(1)
    command = [
        str(programs / "prometheus"),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        running = Prometheus(port)
        running.wait_for("count_over_time(hypercare_build_info[1m]) >= 4")
        yield running
    finally:
        process.terminate()
        process.wait(30)
        worker.stop()


@pytest.mark.slow
@every_query
def test_query_returns_series(prometheus: Prometheus, query: Query) -> None:
    """The real Prometheus answers with at least one series that has a value."""
    found = prometheus.series(filled(query.expr, VALUES))
    assert found, query.expr
    assert any(not math.isnan(float(one["value"][1])) for one in found)


@pytest.mark.slow
def test_variables_offer_values(prometheus: Prometheus) -> None:
    """Each variable offers the service, environment and release that are there."""
    for name, (selector, label) in variables().items():
        found = prometheus.ask(
            "/api/v1/series", **{"match[]": filled(selector, VALUES)}
        )
        assert VALUES[name] in {one[label] for one in found}


@pytest.mark.slow
def test_shipped_alert_fires(prometheus: Prometheus) -> None:
    """The mounted alert rules fire on the same series, and the dashboard counts it."""
    firing = 'ALERTS{alertname="ReleaseRegression",alertstate="firing"}'
    prometheus.wait_for(firing)
    (counter,) = [q for q in queries() if "vector(0)" in q.expr]
    (counted,) = prometheus.series(counter.expr)
    assert float(counted["value"][1]) >= 1
