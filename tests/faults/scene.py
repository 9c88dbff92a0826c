"""One fault run: workers, traffic, what is watched meanwhile, the end and the verdict.

A row of the fault table is a function that gets a scene, does harm to it and returns;
everything else is the same for all rows.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from streams.halt import Exit
from streams.kafka_local import LocalKafka
from streams.topics import LOG
from streams.wallclock import monotonic_s
from tests.faults import golden
from tests.faults.checker import Findings, check, ids_in
from tests.faults.history import History
from tests.faults.traffic import Change, Plan, Traffic
from tests.integration.detecting import DetectorStage, pause
from tests.integration.support import until

PARTITIONS = 4
SAMPLE_S = 0.2
PATIENCE_MS, ANSWER_MS = 900_000, 5_000
ENOUGH_WINDOWS = 100
"""Until then the bad release is found with near certainty."""

NOT_AGAIN = (Exit.STOPPED, Exit.REFUSED, Exit.SETTINGS)
"""Exit codes after which starting a worker again does not help."""

PORT = re.compile(r"web\.listening host=\S+ port=(\d+)")
STOP_MAX_S = 11.0
"""Ten seconds for the orderly end, and one for the process to be gone."""


class FaultStage(DetectorStage):
    """Workers with the rules of a plan, and whatever environment a row wants."""

    def __init__(
        self, bootstrap: str, prefix: str, folder: Path, plan: Plan, replication: int
    ) -> None:
        self.replication = replication
        super().__init__(bootstrap, prefix, folder)
        self.rules.write_text(plan.rules, encoding="utf-8")
        # One tick of today would make all that lies in the past late: none in a run.
        self.tick_interval_s = 2 if plan.live else 86_400
        self.everywhere: Mapping[str, str] = {}
        self.extra: dict[str, Mapping[str, str]] = {}

    def producer(self) -> Any:
        """A sender that does not give up while the brokers are away.

        It leaves a frozen node after seconds: by default it waits 30 s for one answer,
        and what it sends so late can not be judged before.
        """
        return KafkaProducer(
            bootstrap_servers=self.settings.kafka.split(","),
            acks="all",
            request_timeout_ms=ANSWER_MS,
            delivery_timeout_ms=PATIENCE_MS,
            max_block_ms=PATIENCE_MS,
        )

    def environment(self, name: str) -> dict[str, str]:
        """Add what the row wants of this worker."""
        wanted = {**self.everywhere, **self.extra.get(name, {})}
        return super().environment(name) | wanted


class Scene:
    """What a row of the fault table works on.

    Attributes
    ----------
    made : FaultStage
        Topics and workers.
    history : History
        What happened.
    traffic : Traffic
        What is sent.
    """

    def __init__(
        self,
        kafka: LocalKafka,
        folder: Path,
        name: str,
        plan: Plan,
        change: Change | None = None,
    ) -> None:
        self.kafka, self.plan = kafka, plan
        folder.mkdir(parents=True, exist_ok=True)
        self.history = History(folder / "history.jsonl")
        self.made = FaultStage(kafka.bootstrap, name, folder, plan, min(kafka.nodes, 3))
        more = {} if change is None else {"change": change}
        self.traffic = Traffic(self.made, plan, self.history, **more)
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.problems: list[str] = []
        self.notes: list[str] = []
        self.sent_beside = 0
        self.sent_bombs = 0
        self.is_supervised = False
        self.restarts: list[int] = []
        self.stack = ExitStack()
        self._over = threading.Event()
        self._watch = threading.Thread(target=self._sample, name="watch")
        self._watch.start()

    # Workers.

    def start(
        self, name: str, environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a worker."""
        if environment is not None:
            self.made.extra[name] = environment
        worker = self.made.start(name)
        self.running[name] = worker
        self.history.note("start", worker=name)
        return worker

    def ready(self, name: str, count: int = PARTITIONS) -> None:
        """Wait until a worker has so many partitions."""
        until(
            lambda: self.made.said(name).count("lane.ready") >= count,
            what=f"{name} has {count} partitions",
        )

    def hit(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a worker; one that ends it is waited for."""
        worker = self.running[name]
        self.history.note("fault", kind=number.name, worker=name)
        worker.send_signal(number)
        if number is signal.SIGKILL:
            self.gone(name)

    def gone(self, name: str, limit_s: float = STOP_MAX_S) -> int:
        """Wait for the end of a worker; return its exit code."""
        begun_s = monotonic_s()
        code = self.running[name].wait(timeout=limit_s + 20)
        took_s = monotonic_s() - begun_s
        self.history.note("exit", worker=name, code=code, took_s=round(took_s, 2))
        del self.running[name]
        if took_s > limit_s:
            self.problems.append(f"{name} took {took_s:.1f} s to end")
        return code

    def at_window(self, window: int, limit_s: float = 600.0) -> None:
        """Wait until so many windows are sent."""
        until(
            lambda: self.traffic.window >= window or self.traffic.is_over,
            what=f"window {window} is sent",
            limit_s=limit_s,
        )

    # What workers show.

    def pages(self, path: str) -> Iterator[tuple[int, bytes]]:
        """Status and body of a page of every worker that answers."""
        for name in list(self.running):
            ports = re.findall(
                r"web\.listening host=\S+ port=(\d+)", self.made.said(name)
            )
            if ports:
                try:
                    yield fetched(int(ports[-1]), path)
                except OSError:
                    continue

    def evaluated(self) -> dict[str, int]:
        """Until when the release of each service has been judged."""
        newest: dict[str, int] = {}
        for _, body in self.pages("/v1/status"):
            for release in json.loads(body)["releases"]:
                at_ms = release["evaluated_ms"] or 0
                service = release["service"]
                newest[service] = max(newest.get(service, 0), at_ms)
        return newest

    def heal(self, what: str, limit_s: float = 120.0) -> float:
        """Note the end of a fault; wait for verdicts about all sent until then."""
        self.history.note("heal", kind=what)
        begun_s = monotonic_s()
        width_ms = self.plan.window_s * 1000
        end_ms = self.traffic.start_ms + self.plan.windows * width_ms
        target_ms = min(self.traffic.sent_until_ms, end_ms - self.plan.settled_ms)
        shops = {shop.service for shop in self.plan.shops()}

        def fresh() -> bool:
            found = self.evaluated()
            return all(found.get(service, 0) >= target_ms for service in shops)

        until(fresh, what=f"fresh verdicts after {what}", limit_s=limit_s)
        took_s = monotonic_s() - begun_s
        self.history.note("fresh", kind=what, took_s=round(took_s, 2))
        return took_s

    def heal_meanwhile(self, what: str, seconds: float) -> None:
        """Wait for fresh verdicts although the fault lasts, and then for its end."""
        left_s = seconds - self.heal(what)
        pause(max(0.0, left_s))

    def ready_together(self, names: list[str]) -> None:
        """Wait until workers share the partitions."""

        def shared() -> bool:
            lanes = [json.loads(b)["lanes"] for _, b in self.pages("/v1/status")]
            ready = [sum(x["state"] == "ready" for x in one) for one in lanes]
            return sum(ready) == PARTITIONS and len(ready) == len(names) and all(ready)

        until(shared, what=f"{names} share the partitions")

    def peak_mb(self) -> float:
        """Largest resident size of a worker so far."""
        return max((fact["mb"] for fact in self.history.all("memory")), default=0.0)

    def _sample(self) -> None:
        while not self._over.wait(SAMPLE_S):
            for name, worker in list(self.running.items()):
                if self.is_supervised and worker.poll() is not None:
                    self._restart(name, worker.returncode)
                    continue
                mb = resident_mb(worker.pid)
                if mb is not None:
                    self.history.note("memory", worker=name, mb=mb)

    def _restart(self, name: str, code: int) -> None:
        """Do what a supervisor does, as docs/operations.md asks of it."""
        self.history.note("exit", worker=name, code=code)
        self.restarts.append(code)
        del self.running[name]
        if code in NOT_AGAIN:
            self.problems.append(f"{name} ended with {code}")
        else:
            self.start(f"{name}.again")

    # What a row wants.

    def want(self, holds: bool, otherwise: str) -> None:
        """Note a problem unless something holds."""
        if not holds:
            self.problems.append(otherwise)

    def want_decisions(self, wanted: dict[str, list[tuple[Any, ...]]]) -> None:
        """Compare what was decided with a run that nothing disturbed."""
        said = [r.value for r in self.made.read("audit")]
        found = golden.decisions(said)
        for service in sorted(wanted):
            ours, theirs = found.get(service), wanted.get(service)
            self.want(
                ours == theirs,
                f"{service}: decided {ours}, undisturbed {theirs}",
            )

    # The end.

    def finish(self, after: Callable[[Scene], None] = lambda _: None) -> Findings:
        """Wait until all is counted, end the workers in order, and judge."""
        self.at_window(ENOUGH_WINDOWS)
        self.is_supervised = False
        if self.restarts:
            self.notes.append(f"ended and started again: {sorted(self.restarts)}")
        self.traffic.stop()
        self._wait_for_log()
        until(self._is_written_down, what="all is read and written down", limit_s=900)
        for name in list(self.running):
            self.hit(name, signal.SIGTERM)
            code = self.gone(name)
            if code != 0:
                self.problems.append(f"{name} ended with {code}")
        after(self)
        found = check(self.made, self.history)
        return found.beside(self.notes, self.problems)

    def _wait_for_log(self) -> None:
        """Wait until what was acknowledged on the ingress topics is in the log."""
        if self.plan.ingress:
            acked = {e[0] for f in self.history.all("acked") for e in f["events"]}
            until(
                lambda: acked <= set(ids_in(golden.log_records(self.made))),
                what="all acknowledged events are in the log",
                limit_s=180,
            )

    def _is_written_down(self) -> bool:
        if not hasattr(self, "_ends"):
            self._ends = log_ends(self.made)
        at = {p: m.next_offset for p, (m, _) in self.made.manifests().items()}
        return all(at.get(p, 0) >= end for p, end in self._ends.items())

    def close(self) -> None:
        """Leave nothing behind."""
        self._over.set()
        self._watch.join()
        self.made.end()
        self.stack.close()
        self.history.write()


@contextmanager
def scene(
    kafka: LocalKafka,
    folder: Path,
    name: str,
    plan: Plan,
    change: Change | None = None,
) -> Iterator[Scene]:
    """A scene whose traffic runs, and that is cleared away whatever happens."""
    made = Scene(kafka, folder, name, plan, change)
    try:
        with made.traffic:
            yield made
    finally:
        made.close()


def fetched(port: int, path: str) -> tuple[int, bytes]:
    """Status and body of a page of this machine."""
    url = f"http://127.0.0.1:{port}{path}"
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def resident_mb(pid: int) -> float | None:
    """Resident size of a process now; None once it is gone."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    found = re.search(r"VmRSS:\s+(\d+) kB", text)
    return int(found[1]) / 1024 if found else None


def log_ends(made: DetectorStage) -> dict[int, int]:
    """End of each partition of the log."""
    consumer: Any = KafkaConsumer(bootstrap_servers=made.settings.kafka.split(","))
    try:
        topic = made.settings.topic(LOG)
        parts = [TopicPartition(topic, n) for n in range(made.settings.partitions)]
        return {p.partition: end for p, end in consumer.end_offsets(parts).items()}
    finally:
        consumer.close()
