"""The local Kafka: what it trusts, what it refuses and what it leaves behind."""

from __future__ import annotations

import functools
import hashlib
import http.server
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from click.testing import CliRunner
from kafka import KafkaConsumer, KafkaProducer
from kafka.admin import KafkaAdminClient, NewTopic

from streams.kafka_local import (
    VERSIONS,
    BrokerFailedError,
    DownloadError,
    JavaMissingError,
    KafkaLocalError,
    LocalKafka,
    PortTakenError,
    find_java,
    free_ports,
    jars,
    processes,
)
from streams.kafka_local.cli import kafka as kafka_group
from streams.kafka_local.jars import Jar

TOPIC = "test-kafka-local"


def fake_java(folder: Path, words: str, *, then: str = "exit 1") -> Path:
    """Write a launcher that prints a version and does ``then`` for all the rest."""
    path = folder / "java"
    path.parent.mkdir(parents=True, exist_ok=True)
    version = f"if [ \"$1\" = -version ]; then echo '{words}' >&2; exit 0; fi"
    path.write_text(f"#!/bin/sh\n{version}\n{then}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A Maven repository on loopback: its folder and its address."""
    folder = tmp_path / "mirror"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """Say nothing; pytest shows what matters."""

    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def one_jar(monkeypatch: pytest.MonkeyPatch) -> Jar:
    """A lock of a single jar, whose content is known."""
    digest = hashlib.sha256(b"the jar").hexdigest()
    jar = Jar("org.example.deep", "thing", "1.2", digest)
    monkeypatch.setattr(jars, "locked_jars", lambda version: [jar])
    return jar


def put(folder: Path, jar: Jar, content: bytes) -> None:
    path = folder / jar.url_path
    path.parent.mkdir(parents=True)
    path.write_bytes(content)


@pytest.mark.parametrize("version", VERSIONS)
def test_lock_names_each_jar_once(version: str) -> None:
    """A lock pins every artifact once, Kafka's own at the version asked for."""
    locked = jars.locked_jars(version)
    names = [(jar.group, jar.artifact) for jar in locked]
    assert len(names) == len(set(names))
    assert all(len(bytes.fromhex(jar.sha256)) == 32 for jar in locked)
    own = {jar.version for jar in locked if jar.group == "org.apache.kafka"}
    assert own == {version}


def test_unknown_version_names_the_known() -> None:
    """A version without a lock file is refused with those that have one."""
    with pytest.raises(KafkaLocalError, match=r"4\.4\.0, 3\.9\.2"):
        jars.locked_jars("1.0.0")


def test_mirror_delivers_and_cache_keeps(
    mirror: tuple[Path, str], one_jar: Jar, tmp_path: Path
) -> None:
    """A jar comes from the mirror once and from the cache afterwards."""
    folder, address = mirror
    put(folder, one_jar, b"the jar")
    lines: list[str] = []
    cache = tmp_path / "cache"
    first = jars.fetch("4.4.0", cache, address, lines.append)
    assert first[0].read_bytes() == b"the jar"
    assert lines[-1] == "Kafka 4.4.0: 1 of 1 jars"
    (folder / one_jar.url_path).unlink()
    assert first == jars.fetch("4.4.0", cache, address, lines.append)
    assert len(lines) == 2
    assert [path.name for path in cache.iterdir()] == [one_jar.filename]


def test_wrong_checksum_is_never_kept(
    mirror: tuple[Path, str], one_jar: Jar, tmp_path: Path
) -> None:
    """A jar that is not the locked one is refused, with both hashes, not cached."""
    folder, address = mirror
    put(folder, one_jar, b"another jar")
    with pytest.raises(DownloadError, match=one_jar.sha256) as caught:
        jars.fetch("4.4.0", tmp_path / "cache", address, lambda line: None)
    assert hashlib.sha256(b"another jar").hexdigest() in str(caught.value)
    assert list((tmp_path / "cache").iterdir()) == []


def test_damaged_cache_is_fetched_again(
    mirror: tuple[Path, str], one_jar: Jar, tmp_path: Path
) -> None:
    """A cached file that was cut short is replaced."""
    folder, address = mirror
    put(folder, one_jar, b"the jar")
    (tmp_path / one_jar.filename).write_bytes(b"the j")
    (path,) = jars.fetch("4.4.0", tmp_path, address, lambda line: None)
    assert path.read_bytes() == b"the jar"


def test_missing_jar_names_the_mirror(
    mirror: tuple[Path, str], one_jar: Jar, tmp_path: Path
) -> None:
    """A mirror without the jar is named, with the variable that chose it."""
    _, address = mirror
    with pytest.raises(DownloadError, match="HYPERCARE_MAVEN_MIRROR") as caught:
        jars.fetch("4.4.0", tmp_path, address, lambda line: None)
    assert address in str(caught.value)
    assert one_jar.url_path in str(caught.value)


# urllib3 leaves the refused socket to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_refused_network_names_the_way_out(one_jar: Jar, tmp_path: Path) -> None:
    """Where nothing can be reached the message says proxy, certificate, mirror."""
    nowhere = f"http://127.0.0.1:{free_ports(1)}"
    with pytest.raises(DownloadError, match="Connection refused") as caught:
        jars.fetch("4.4.0", tmp_path, nowhere, lambda line: None)
    for word in ("HTTPS_PROXY", "PIP_CERT", "HYPERCARE_MAVEN_MIRROR", nowhere):
        assert word in str(caught.value)


def test_mirror_must_be_an_address() -> None:
    """A mirror that is no http address is refused before anything is fetched."""
    with pytest.raises(KafkaLocalError, match="not an http"):
        jars.mirror_url({"HYPERCARE_MAVEN_MIRROR": "ftp://there"})
    address = {"HYPERCARE_MAVEN_MIRROR": "https://there/maven/"}
    assert jars.mirror_url(address) == "https://there/maven"
    assert jars.mirror_url({}) is None


def test_full_disk_is_said_before(
    one_jar: Jar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too little room for the jars is refused with both figures and the variable."""
    monkeypatch.setattr(jars, "FREE_BYTES_MIN", 10**18)
    with pytest.raises(KafkaLocalError, match="HYPERCARE_MAVEN_CACHE"):
        jars.fetch("4.4.0", tmp_path, None, lambda line: None)


def test_named_java_is_never_skipped(tmp_path: Path) -> None:
    """HYPERCARE_JAVA that is too old is refused, although PATH may have better."""
    old = fake_java(tmp_path, 'java version "1.8.0_402"')
    with pytest.raises(JavaMissingError, match="is Java 8"):
        find_java({"HYPERCARE_JAVA": str(old), "PATH": os.environ["PATH"]})


def test_java_home_comes_before_path(tmp_path: Path) -> None:
    """JAVA_HOME wins over PATH, unless it is too old."""
    new = fake_java(tmp_path / "new" / "bin", 'openjdk version "21.0.1" 2023')
    old = fake_java(tmp_path / "old" / "bin", 'openjdk version "11.0.1" 2020')
    home = {"JAVA_HOME": str(new.parents[1]), "PATH": str(old.parent)}
    assert find_java(home).major == 21
    path = {"JAVA_HOME": str(old.parents[1]), "PATH": str(new.parent)}
    assert find_java(path).source == "PATH"


def test_missing_java_names_every_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without any Java the message says what was tried and what to install."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    old = fake_java(tmp_path / "bin", 'openjdk version "11.0.1" 2020')
    with pytest.raises(JavaMissingError, match="Java 11") as caught:
        find_java({"PATH": str(old.parent)})
    assert "hypercare[java]" in str(caught.value)


def test_taken_port_is_named(tmp_path: Path) -> None:
    """A port in use is named before Java is started, with the variable to set."""
    port = free_ports(2)
    with socket.socket() as other:
        other.bind(("127.0.0.1", port + 1))
        other.listen()
        with pytest.raises(PortTakenError, match=f"port {port + 1} ") as caught:
            LocalKafka(tmp_path, port=port).start()
    assert "HYPERCARE_KAFKA_PORT" in str(caught.value)
    assert not (tmp_path / "1").exists()


def test_foreign_pid_is_left_alone(tmp_path: Path) -> None:
    """A pid file that names another program's process stops nothing."""
    broker = LocalKafka(tmp_path, port=free_ports(2))
    with subprocess.Popen(["sleep", "60"]) as stranger:
        (tmp_path / "1").mkdir()
        (tmp_path / "1" / "pid").write_text(str(stranger.pid))
        broker.kill()
        broker.stop()
        assert stranger.poll() is None
        stranger.kill()


def test_zombie_is_not_alive(tmp_path: Path) -> None:
    """A process that ended and was not waited for does not count as running."""
    with subprocess.Popen(
        ["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdin
        assert child.stdout
        # Right after exec the command line is still empty: an echo says it is there.
        child.stdin.write(b"ready\n")
        child.stdin.flush()
        assert child.stdout.readline() == b"ready\n"
        pid_file = tmp_path / "pid"
        pid_file.write_text(str(child.pid))
        assert processes.read_pid(pid_file, "cat") == child.pid
        child.kill()
        # Waits for the end without reaping, so that the zombie stays.
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert processes.read_pid(pid_file, "") is None


def test_failed_start_shows_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_jar: Jar
) -> None:
    """A broker that ends while starting is reported with the end of its log."""
    then = 'case "$*" in *StorageTool*) exit 0;; esac; echo boom; exit 3'
    java = fake_java(tmp_path, 'openjdk version "17.0.1" 2021', then=then)
    (tmp_path / one_jar.filename).write_bytes(b"the jar")
    monkeypatch.setenv("HYPERCARE_JAVA", str(java))
    monkeypatch.setattr(jars, "cache_directory", lambda: tmp_path)
    broker = LocalKafka(tmp_path / "run", port=free_ports(2))
    with pytest.raises(BrokerFailedError, match="boom"):
        broker.start()
    assert broker.status()[0].pid is None


def test_data_of_another_version_is_kept(tmp_path: Path) -> None:
    """A directory made by one version is not opened with another."""
    text = json.dumps({"version": "4.4.0", "port": 19092, "nodes": 1})
    (tmp_path / "cluster.json").write_text(text)
    with pytest.raises(KafkaLocalError, match=r"data of Kafka 4\.4\.0"):
        LocalKafka(tmp_path, version="3.9.2").start()


def test_damaged_layout_names_the_file(tmp_path: Path) -> None:
    """An unreadable cluster.json is an explained error, not a traceback."""
    (tmp_path / "cluster.json").write_text('{"version": ')
    with pytest.raises(KafkaLocalError, match=r"cluster\.json can not be read"):
        LocalKafka.open(tmp_path)


@pytest.mark.parametrize("port", [0, 80, 65535, 70000])
def test_impossible_port_is_refused(tmp_path: Path, port: int) -> None:
    """A port that leaves no room for the node's two is refused at once."""
    with pytest.raises(KafkaLocalError, match="HYPERCARE_KAFKA_PORT"):
        LocalKafka(tmp_path, port=port)


def test_status_of_nothing_exits_three(tmp_path: Path) -> None:
    """`status` says that nothing was started, in text and JSON; stop is no error."""
    runner = CliRunner()
    where = ["--dir", str(tmp_path)]
    plain = runner.invoke(kafka_group, ["status", *where])
    assert (plain.exit_code, "no Kafka" in plain.stdout) == (3, True)
    machine = runner.invoke(kafka_group, ["status", "--json", *where])
    assert (machine.exit_code, json.loads(machine.stdout)["running"]) == (3, False)
    assert runner.invoke(kafka_group, ["stop", *where]).exit_code == 0


def test_error_is_one_explained_line(tmp_path: Path) -> None:
    """The command prints our words on standard error and exits with 2."""
    port = free_ports(2)
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        arguments = ["start", "--dir", str(tmp_path), "--port", str(port)]
        result = CliRunner().invoke(kafka_group, arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith(f"hypercare kafka: port {port} on 127.0.0.1 is")
    assert result.stderr.count("\n") == 1


@pytest.mark.kafka
def test_kafka_python_reads_what_it_wrote(kafka: LocalKafka) -> None:
    """A record goes through the broker with kafka-python."""
    topic = f"{TOPIC}-sync"
    admin = KafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    admin.create_topics([NewTopic(topic, 1, 1)])
    admin.close()
    producer = KafkaProducer(bootstrap_servers=kafka.bootstrap, acks="all")
    producer.send(topic, key=b"shop", value=b"one").get(timeout=20)
    producer.close()
    consumer = KafkaConsumer(
        topic,
        bootstrap_servers=kafka.bootstrap,
        auto_offset_reset="earliest",
        consumer_timeout_ms=20_000,
    )
    assert next(consumer).value == b"one"
    consumer.close()


@pytest.mark.kafka
async def test_aiokafka_reads_what_it_wrote(kafka: LocalKafka) -> None:
    """A record goes through the broker with aiokafka."""
    topic = f"{TOPIC}-async"
    admin = KafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    admin.create_topics([NewTopic(topic, 1, 1)])
    admin.close()
    async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap) as producer:
        await producer.send_and_wait(topic, b"two", key=b"shop")
    async with AIOKafkaConsumer(
        topic, bootstrap_servers=kafka.bootstrap, auto_offset_reset="earliest"
    ) as consumer:
        assert (await consumer.getone()).value == b"two"


@pytest.mark.kafka
def test_broker_has_production_defaults(kafka: LocalKafka) -> None:
    """No topic appears by itself; timestamp limits and retention are Kafka's own."""
    config = (kafka.directory / "1" / "server.properties").read_text()
    settings = dict(line.split("=", 1) for line in config.split() if "=" in line)
    assert settings["auto.create.topics.enable"] == "false"
    assert not [k for k in settings if k.startswith(("log.message", "log.retention"))]
    assert all("127.0.0.1" in x for x in settings["listeners"].split(","))


@pytest.mark.kafka
@pytest.mark.slow
def test_broker_lives_through_its_commands(tmp_path: Path) -> None:
    """start, status, kill, start, pause, resume and stop do what they say."""
    runner = CliRunner()
    where = ["--dir", str(tmp_path / "run"), "--json"]
    asked = ["start", *where, "--port", str(free_ports(2))]
    started = runner.invoke(kafka_group, asked)
    assert started.exit_code == 0, started.stderr
    broker = LocalKafka.open(tmp_path / "run")
    assert broker is not None
    try:
        first = json.loads(started.stdout)["nodes"][0]["pid"]
        again = runner.invoke(kafka_group, asked)
        assert json.loads(again.stdout)["nodes"][0]["pid"] == first
        broker.kill()
        assert runner.invoke(kafka_group, ["status", *where]).exit_code == 3
        broker.start()
        broker.pause()
        assert [(n.pid is not None, n.ready) for n in broker.status()] == [
            (True, False)
        ]
        broker.resume()
        assert runner.invoke(kafka_group, ["status", *where]).exit_code == 0
        broker.pause()
    finally:
        stopped = runner.invoke(kafka_group, ["stop", "--wipe", *where])
    assert stopped.exit_code == 0
    assert not (tmp_path / "run").exists()


@pytest.mark.kafka
@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
def test_tied_broker_ends_with_its_owner(tmp_path: Path) -> None:
    """kill -9 of the program that started a tied broker leaves no process."""
    program = (
        "import sys, pathlib; from streams.kafka_local import LocalKafka\n"
        "broker = LocalKafka(pathlib.Path(sys.argv[1]), port=int(sys.argv[2]),"
        " tied=True)\n"
        "broker.start(); print(broker.status()[0].pid, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path), str(free_ports(2))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        gone = os.pidfd_open(pid)
        owner.send_signal(signal.SIGKILL)
    readable, _, _ = select.select([gone], [], [], 20)
    os.close(gone)
    assert readable
    broker = LocalKafka.open(tmp_path)
    assert broker is not None
    assert broker.status()[0].pid is None
