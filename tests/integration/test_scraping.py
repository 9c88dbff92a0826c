"""A worker's page under every way in which Prometheus can be told to read it."""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.scraped import Prometheus, Worker, prometheus, shop_partition
from tests.rules.programs import PROMETHEUS_RULES, run

pytestmark = pytest.mark.slow

ONLY = {
    "text": "PrometheusText0.0.4",
    "text-utf8": "PrometheusText1.0.0",
    "openmetrics": "OpenMetricsText1.0.0",
    "openmetrics-old": "OpenMetricsText0.0.1",
}
MORE: dict[str, dict[str, Any]] = {
    **{name: {"scrape_protocols": [one]} for name, one in ONLY.items()},
    "legacy-names": {"metric_name_validation_scheme": "legacy"},
    "escaped-names": {"metric_name_escaping_scheme": "underscores"},
    "fallback": {"fallback_scrape_protocol": "PrometheusText0.0.4"},
    "native-histograms": {"scrape_native_histograms": True},
    "both-histograms": {
        "scrape_native_histograms": True,
        "always_scrape_classic_histograms": True,
    },
}
"""What Prometheus 3 may be told; 2.42 knows none of it."""


def version() -> tuple[int, ...]:
    """Which Prometheus is tested."""
    found = re.search(r"version (\d+)\.(\d+)", run("prometheus", "--version"))
    assert found is not None
    return int(found[1]), int(found[2])


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    """A worker's pages, with a recommendation."""
    made = Worker(shop_partition())
    made.start()
    assert made.is_up.wait(10)
    yield made
    made.stop()


def test_every_way_reads_the_same(worker: Worker, tmp_path: Path) -> None:
    """All jobs are up and have the same series, whatever format was agreed on."""
    ways = {"plain": {}} | (MORE if version() >= (3, 8) else {})
    targets = [{"targets": [f"127.0.0.1:{worker.web.port}"]}]
    jobs = [
        {"job_name": name, "static_configs": targets} | way
        for name, way in ways.items()
    ]
    config = {"global": {"scrape_interval": "1s"}, "scrape_configs": jobs}
    with prometheus(tmp_path, config) as running:
        running.wait_for(f"count(up == 1) == {len(ways)}")
        # Of the page itself: not what OpenMetrics adds, and Prometheus itself.
        own = '{__name__=~"hypercare_.+",__name__!~".+_created"}'
        counted = {
            one["metric"]["job"]: float(one["value"][1])
            for one in running.series(f"count by (job) ({own})")
        }
        assert set(counted) == set(ways)
        assert len(set(counted.values())) == 1, counted
        # Prometheus 3 makes le="1" to le="1.0"; our pages say so everywhere.
        for name in ways:
            bound = f'hypercare_tick_duration_seconds_bucket{{job="{name}",le="1.0"}}'
            assert len(running.series(bound)) == 1, name
            p99 = f"histogram_quantile(0.99, sum by (le) ({bound.split(',')[0]}}}))"
            (found,) = running.series(p99)
            assert 0 < float(found["value"][1]) < 1, name
        read = running.ask("/api/v1/targets")["activeTargets"]
        assert {one["lastError"] for one in read} == {""}


def reloaded(running: Prometheus) -> int:
    """Status of the answer to a reload."""
    request = urllib.request.Request(  # noqa: S310  (loopback)
        f"{running.address}/-/reload", method="POST"
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_rules_are_reloaded(tmp_path: Path) -> None:
    """The shipped rules load on `--web.enable-lifecycle`, and a broken file is refused
    while the old rules stay."""
    rules = tmp_path / "hypercare.yml"
    rules.write_text("groups: []\n", encoding="utf-8")
    with prometheus(tmp_path, {"rule_files": [str(rules)]}) as running:
        running.wait_for("vector(1)")
        shipped = (PROMETHEUS_RULES / "hypercare.yml").read_text(encoding="utf-8")
        for text, status in ((shipped, 200), ("groups: [{name: x, rules: 1}]", 500)):
            rules.write_text(text, encoding="utf-8")
            assert reloaded(running) == status
            groups = running.ask("/api/v1/rules")["groups"]
            alerts = {one["name"] for group in groups for one in group["rules"]}
            assert "ReleaseRegression" in alerts
