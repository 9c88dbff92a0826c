"""The server shows what it is asked for, to those it knows, and changes nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from detector.engine import Partition
from detector.records import LogRecord
from detector.rulefile import load_rules
from detector.simulate import Shop
from detector.view import partition_view
from streams.metrics import Metrics, Readings, RulesStatus
from streams.progress import Counters, LaneProgress, LaneState
from streams.readiness import Readiness
from streams.serving import HEADERS, ListenError
from streams.wallclock import monotonic_s, now_ms
from streams.web import Web

RULES = "version: 1\nrules: [{name: all}]\nend_of_rules: true\n"
START_MS = 1_795_356_000_000
PATHS = ("/metrics", "/healthz", "/readyz", "/v1/status")


def shop_partition() -> Partition:
    """A partition with one release under judgement."""
    partition = Partition(0, load_rules(RULES, source="test"))
    deploy = json.dumps(Shop().deploy(START_MS, 0.1, "started")).encode()
    partition.apply([LogRecord(0, START_MS, b"shop", deploy)])
    return partition


def lane(state: LaneState = LaneState.READY) -> LaneProgress:
    """A partition with everything applied and saved."""
    return LaneProgress(0, state, 1, 1, 1, 1, 0.1, 0.1, 99, 0, "the log is gone")


class Worker:
    """What a server needs, from real state; tests change ``lanes``."""

    def __init__(self) -> None:
        self.partition = shop_partition()
        self.lanes = [lane()]
        self.is_member = True
        self.metrics = Metrics(
            Readings(
                views=lambda: [partition_view(self.partition)],
                lanes=lambda: self.lanes,
                counters=Counters(),
                rules=lambda: RulesStatus(1, True),
                now_ms=now_ms,
                monotonic_s=monotonic_s,
            )
        )

    def web(self, **options: Any) -> Web:
        """A server on a free port."""
        return Web(
            self.metrics,
            Readiness(snapshot_interval_s=2.0),
            is_member=lambda: self.is_member,
            monotonic_s=options.pop("monotonic_s", monotonic_s),
            **{"port": 0, **options},
        )


@contextlib.asynccontextmanager
async def serving(web: Web) -> AsyncIterator[str]:
    """The address of a server that runs meanwhile."""
    await web.start()
    try:
        yield f"http://127.0.0.1:{web.port}"
    finally:
        await web.stop()


async def ask(
    url: str, method: str = "GET", **headers: str
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of one request."""
    async with (
        aiohttp.ClientSession() as client,
        client.request(method, url, headers=headers) as answer,
    ):
        return answer.status, dict(answer.headers), await answer.read()


async def test_metrics_are_parsable() -> None:
    """The page is what Prometheus reads, with the release in it."""
    async with serving(Worker().web()) as base:
        status, headers, body = await ask(f"{base}/metrics")
    assert status == 200
    assert headers["Content-Type"].startswith("text/plain")
    names = {f.name for f in text_string_to_metric_families(body.decode())}
    assert "hypercare_release_window_open" in names
    assert "hypercare_loop_stall_seconds" in names


async def test_openmetrics_is_negotiated() -> None:
    """Who asks for OpenMetrics gets it, and its end mark."""
    accept = "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"
    async with serving(Worker().web()) as base:
        _, headers, body = await ask(f"{base}/metrics", Accept=accept)
    assert headers["Content-Type"].startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")


async def test_status_shows_state() -> None:
    """Status lists releases and partitions; what JSON has no number for is null."""
    async with serving(Worker().web()) as base:
        _, _, body = await ask(f"{base}/v1/status")
    status = json.loads(body)
    (release,) = status["releases"]
    assert (release["service"], release["release"]) == ("shop", "2.4.0")
    assert release["recommendation"]["is_open"] is False
    assert release["signals"][0]["rate_ratio"] == [0.0, 1.0, None]
    assert status["lanes"][0]["state"] == "ready"


async def test_ready_worker_says_so() -> None:
    """A worker that makes progress is healthy and ready."""
    async with serving(Worker().web()) as base:
        for path in ("/healthz", "/readyz"):
            status, _, body = await ask(base + path)
            assert (status, json.loads(body)["status"]) == (200, "ok")


async def test_unready_worker_names_the_fault() -> None:
    """503 comes with what is wrong, where, and what helps."""
    worker = Worker()
    worker.lanes = [lane(LaneState.BLIND)]
    async with serving(worker.web()) as base:
        status, _, body = await ask(f"{base}/readyz")
        health, _, _ = await ask(f"{base}/healthz")
    (problem,) = json.loads(body)["problems"]
    assert status == 503
    assert problem["partition"] == 0
    assert "the log is gone" in problem["what"]
    assert problem["fix"]
    assert health == 200


async def test_hanging_loop_is_unhealthy() -> None:
    """When the timers have not woken for long, health says so."""
    clock = iter([0.0])
    web = Worker().web(monotonic_s=lambda: next(clock, 60.0))
    async with serving(web) as base:
        status, _, body = await ask(f"{base}/healthz")
    assert status == 503
    assert "event loop" in json.loads(body)["problems"][0]["what"]


@pytest.mark.parametrize("path", PATHS)
async def test_foreign_names_are_refused(path: str) -> None:
    """A name somebody else pointed here gets nothing but 403."""
    async with serving(Worker().web()) as base:
        for host in ("evil.example", "evil.example:9108", "127.0.0.1.evil.example"):
            status, _, body = await ask(base + path, Host=host)
            assert status == 403
            assert b"shop" not in body
            assert b"HYPERCARE_WEB_NAMES" in body


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:1", "127.0.0.1:80", "[::1]:9108", "localhost."]
)
async def test_local_names_are_known(host: str) -> None:
    """All spellings of this machine are answered."""
    async with serving(Worker().web()) as base:
        status, _, _ = await ask(f"{base}/healthz", Host=host)
    assert status == 200


@pytest.mark.parametrize("host", ["[::1", "[::1]x", ":9108", "localhost:x", "@"])
async def test_broken_names_are_refused(host: str) -> None:
    """What is no host name is not guessed at."""
    async with serving(Worker().web()) as base:
        status, _, _ = await ask(f"{base}/healthz", Host=host)
    assert status in (400, 403)


async def test_further_names_can_be_set() -> None:
    """A name that was set is answered; loopback does not answer to addresses."""
    async with serving(Worker().web(names=["Hypercare.prod"])) as base:
        assert (await ask(f"{base}/healthz", Host="hypercare.prod:9108"))[0] == 200
        assert (await ask(f"{base}/healthz", Host="10.0.0.7"))[0] == 403


async def test_open_listener_answers_to_addresses() -> None:
    """Beyond loopback addresses are known, names still are not."""
    async with serving(Worker().web(host="0.0.0.0")) as base:
        assert (await ask(f"{base}/healthz", Host="10.0.0.7:9108"))[0] == 200
        assert (await ask(f"{base}/healthz", Host="evil.example"))[0] == 403


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_only_reading_is_allowed(method: str) -> None:
    """Every other method is refused on every path."""
    async with serving(Worker().web()) as base:
        for path in (*PATHS, "/anything"):
            status, headers, _ = await ask(base + path, method)
            assert (status, headers["Allow"]) == (405, "GET, HEAD")


async def test_head_has_no_body() -> None:
    """HEAD answers like GET without a body."""
    async with serving(Worker().web()) as base:
        for path in PATHS:
            status, _, body = await ask(base + path, "HEAD")
            assert (status, body) == (200, b"")


async def test_every_answer_is_hardened() -> None:
    """Refusals and unknown paths carry the security headers, too."""
    async with serving(Worker().web()) as base:
        answers = [
            await ask(f"{base}/metrics"),
            await ask(f"{base}/tables"),
            await ask(f"{base}/metrics", "POST"),
            await ask(f"{base}/metrics", Host="evil.example"),
        ]
    assert [status for status, _, _ in answers] == [200, 404, 405, 403]
    for _, headers, _ in answers:
        assert headers.items() >= HEADERS.items()


async def test_taken_port_is_explained() -> None:
    """The error names the port and the variable, and leaves nothing open."""
    async with serving(Worker().web()) as base:
        port = int(base.rsplit(":", 1)[1])
        with pytest.raises(ListenError, match=rf"port {port} .*HYPERCARE_WEB_PORT"):
            await Worker().web(port=port).start()


async def test_foreign_address_is_explained() -> None:
    """An address that is not ours is refused with the variable to set."""
    with pytest.raises(ListenError, match="HYPERCARE_WEB_HOST"):
        await Worker().web(host="192.0.2.1").start()


async def test_stop_frees_the_port() -> None:
    """After stop nothing listens, nothing runs, and a second stop is harmless."""
    web = Worker().web()
    async with serving(web) as base:
        before = asyncio.all_tasks()
    await web.stop()
    with pytest.raises(aiohttp.ClientConnectorError):
        await ask(f"{base}/healthz")
    assert not [t for t in before if t.get_name() == "web-beat" and not t.done()]


async def test_many_scrapers_see_whole_pages() -> None:
    """Scrapes at once all get complete pages."""
    async with serving(Worker().web()) as base:
        answers = await asyncio.gather(*(ask(f"{base}/metrics") for _ in range(20)))
    assert {status for status, _, _ in answers} == {200}
    for _, _, body in answers:
        names = {f.name for f in text_string_to_metric_families(body.decode())}
        assert "hypercare_build_info" in names
        assert body.endswith(b"\n")
