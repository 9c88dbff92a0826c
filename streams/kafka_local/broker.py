"""Apache Kafka itself on loopback: starts, watches and ends its processes.

One JVM per node, each in a session of its own, so that Ctrl-C in a terminal
reaches the owner, who then stops the broker in order. Nothing here is imported
by the worker: a production Kafka is somebody else's.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from types import TracebackType

from streams.kafka_local import jars, processes
from streams.kafka_local.errors import (
    BrokerFailedError,
    KafkaLocalError,
    PortTakenError,
)
from streams.kafka_local.extras import Extras
from streams.kafka_local.java import find_java

DEFAULT_VERSION = jars.VERSIONS[0]
DEFAULT_PORT = 19092
CLUSTER_ID = "aHlwZXJjYXJlLWxvY2FsLQ"
"""Sixteen bytes in base64url, as the storage format wants; the same every time."""

POLL_S = 0.1
START_POLLS = 900
STOP_POLLS = 200
FREE_BYTES_MIN = 300_000_000
LOG_TAIL_CHARS = 2_000


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """One node: whether its process lives and whether it answers requests."""

    node: int
    port: int
    pid: int | None
    ready: bool


@dataclass(frozen=True, slots=True)
class Layout:
    """What a data directory was made for; kept in it as ``cluster.json``."""

    version: str
    port: int
    nodes: int


class LocalKafka:
    """An Apache Kafka cluster on 127.0.0.1, with its data in one directory.

    As a context manager it is stopped on leaving, whatever happened; otherwise
    it runs until ``stop``, also after this process has ended.

    Parameters
    ----------
    directory : Path
        Data, logs and pid files. Made when missing.
    version : str
        Apache Kafka's version; one that has a lock file.
    port : int
        Node n listens for clients on ``port + 2 * (n - 1)`` and for the other
        nodes on the port after it.
    nodes : int
        1, or 3 for a cluster that survives the loss of one.
    heap : str
        Java heap of each node, as ``-Xmx`` takes it.
    tied : bool
        End the nodes with the thread that starts them, even if it is killed
        (Linux only). For tests and the demo, whose broker nobody else wants;
        without it the broker outlives this process.
    extras : Extras
        Further listeners, security and settings; of a single node.
    """

    def __init__(
        self,
        directory: Path,
        *,
        version: str = DEFAULT_VERSION,
        port: int = DEFAULT_PORT,
        nodes: int = 1,
        heap: str = "256m",
        tied: bool = False,
        extras: Extras | None = None,
    ) -> None:
        if not 1 <= nodes <= 9:
            raise KafkaLocalError(f"nodes={nodes}: choose 1 to 9 (3 survive a loss)")
        if not 1024 <= port <= 65536 - 2 * nodes:
            raise KafkaLocalError(
                f"port {port} does not leave room for {2 * nodes} ports between "
                "1024 and 65535; set HYPERCARE_KAFKA_PORT or --port"
            )
        self.directory = directory.expanduser().resolve()
        self.version = version
        self.port = port
        self.nodes = nodes
        self.heap = heap
        self.tied = tied
        self.extras = extras or Extras()

    @classmethod
    def open(cls, directory: Path) -> LocalKafka | None:
        """Give the cluster a directory was made for, None if it holds none."""
        path = directory.expanduser().resolve() / "cluster.json"
        try:
            layout = Layout(**json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError) as error:
            raise KafkaLocalError(
                f"{path} can not be read ({error}); remove the directory "
                "or choose another one with HYPERCARE_KAFKA_DIR or --dir"
            ) from error
        return cls(
            directory,
            version=layout.version,
            port=layout.port,
            nodes=layout.nodes,
        )

    def __enter__(self) -> LocalKafka:
        """Start and give itself."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop, whatever happened."""
        self.stop()

    @property
    def bootstrap(self) -> str:
        """Addresses to give to a Kafka client, separated by commas."""
        return ",".join(f"127.0.0.1:{self._port(n)}" for n in self._all())

    def start(
        self,
        progress: Callable[[str], None] = lambda line: None,
        *,
        node: int | None = None,
    ) -> None:
        """Start the nodes that are not running and wait until they answer.

        Parameters
        ----------
        progress : callable
            Gets a line of text whenever something takes its time.
        node : int, optional
            Start this one only, for example after ``kill``.

        Raises
        ------
        KafkaLocalError
            With what to do about it. Nodes begun by this call are ended first.
        """
        wanted = [n for n in self._which(node) if self._pid(n) is None]
        if not wanted:
            return
        self._check_room(wanted)
        java = find_java()
        class_path = jars.fetch(
            self.version, jars.cache_directory(), jars.mirror_url(), progress
        )
        java_command = self._java_command(java.path, class_path)
        progress(
            f"Kafka {self.version}: starting on port {self._port(wanted[0])} "
            f"with Java {java.major} ({java.source})"
        )
        try:
            for number in wanted:
                self._launch(number, java_command)
            for number in wanted:
                self._wait_until_ready(number)
        except BaseException:
            # Ctrl-C while starting must not leave half a cluster behind.
            self._end(wanted)
            raise
        progress(f"Kafka {self.version}: ready at {self.bootstrap}")

    def stop(self, node: int | None = None) -> None:
        """End all nodes, or one, in order; by force those that do not go in 20 s."""
        self._end(self._which(node))

    def kill(self, node: int = 1) -> None:
        """End one node at once, as a crash would, and wait until it is gone."""
        if (pid := self._pid(node)) is not None:
            processes.send(pid, signal.SIGKILL)
            self._wait_until_gone(node)

    def pause(self, node: int = 1) -> None:
        """Freeze one node: its connections stay open and nothing answers."""
        if (pid := self._pid(node)) is not None:
            processes.send(pid, signal.SIGSTOP)

    def resume(self, node: int = 1) -> None:
        """Let a paused node go on."""
        if (pid := self._pid(node)) is not None:
            processes.send(pid, signal.SIGCONT)

    def status(self) -> list[NodeStatus]:
        """Say of every node whether it lives and answers."""
        return [self._status(n) for n in self._all()]

    def wipe(self) -> None:
        """Stop, and remove the directory with all its data."""
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _all(self) -> Sequence[int]:
        return range(1, self.nodes + 1)

    def _which(self, node: int | None) -> Sequence[int]:
        if node is None:
            return self._all()
        if node not in self._all():
            raise KafkaLocalError(f"there is no node {node}, only 1 to {self.nodes}")
        return [node]

    def _port(self, node: int) -> int:
        return self.port + 2 * (node - 1)

    def _taken_ports(self, node: int) -> list[int]:
        both = (self._port(node), self._port(node) + 1)
        return [port for port in both if not processes.port_is_free(port)]

    def _folder(self, node: int) -> Path:
        return self.directory / str(node)

    def _config(self, node: int) -> Path:
        return self._folder(node) / "server.properties"

    def _pid(self, node: int) -> int | None:
        processes.reap()
        return processes.read_pid(self._folder(node) / "pid", str(self._config(node)))

    def _status(self, node: int) -> NodeStatus:
        pid, port = self._pid(node), self._port(node)
        ready = pid is not None and processes.answers(port)
        return NodeStatus(node=node, port=port, pid=pid, ready=ready)

    def _check_room(self, wanted: Sequence[int]) -> None:
        made = LocalKafka.open(self.directory)
        mine = (self.version, self.nodes)
        if made is not None and (made.version, made.nodes) != mine:
            raise KafkaLocalError(
                f"{self.directory} holds the data of Kafka {made.version} with "
                f"{made.nodes} node(s), not of {self.version} with {self.nodes}. "
                "Remove it or choose another with HYPERCARE_KAFKA_DIR or --dir."
            )
        for number in wanted:
            for port in self._taken_ports(number):
                raise PortTakenError(
                    f"port {port} on 127.0.0.1 is taken by another program "
                    f"(node {number} needs it). Stop that program, or choose "
                    "another port with HYPERCARE_KAFKA_PORT or --port; "
                    f"`ss -ltnp sport = :{port}` names who holds it."
                )
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(self.directory).free
        except OSError as error:
            raise KafkaLocalError(
                f"can not write {self.directory}: {error.strerror}. Choose another "
                "directory with HYPERCARE_KAFKA_DIR or --dir."
            ) from error
        if free < FREE_BYTES_MIN:
            raise KafkaLocalError(
                f"{free // 1_000_000} MB free at {self.directory}, "
                f"{FREE_BYTES_MIN // 1_000_000} MB needed. Free some, or choose "
                "another directory with HYPERCARE_KAFKA_DIR or --dir."
            )

    def _java_command(self, java: Path, class_path: Sequence[Path]) -> list[str]:
        if self.version >= "4":
            option, name = "log4j2.configurationFile", "log4j2.properties"
        else:
            option, name = "log4j.configuration", "log4j.properties"
        logging_config = self.directory / name
        logging_config.write_text(_packaged(name), encoding="utf-8")
        return [
            str(java),
            f"-Xmx{self.heap}",
            "-Xss512k",
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            "-XX:MaxDirectMemorySize=64m",
            "-XX:+ExitOnOutOfMemoryError",
            "-Djava.net.preferIPv4Stack=true",
            f"-D{option}={logging_config.as_uri()}",
            "-cp",
            os.pathsep.join(map(str, class_path)),
        ]

    def _launch(self, node: int, java_command: Sequence[str]) -> None:
        folder, config = self._folder(node), self._config(node)
        folder.mkdir(parents=True, exist_ok=True)
        layout = Layout(self.version, self.port, self.nodes)
        text = json.dumps(asdict(layout))
        (self.directory / "cluster.json").write_text(text, encoding="utf-8")
        config.touch(mode=0o600)
        config.write_text(self._properties(node), encoding="utf-8")
        if not (folder / "data" / "meta.properties").exists():
            self._format(node, java_command)
        with (folder / "server.log").open("ab") as log:
            child = subprocess.Popen(
                [*java_command, "kafka.Kafka", str(config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=processes.die_with_parent if self.tied else None,
            )
        processes.adopt(child)
        (folder / "pid").write_text(str(child.pid), encoding="ascii")

    def _properties(self, node: int) -> str:
        voters = (f"{n}@127.0.0.1:{self._port(n) + 1}" for n in self._all())
        values = {
            "NODE": node,
            "PORT": self._port(node),
            "CONTROLLER_PORT": self._port(node) + 1,
            "VOTERS": ",".join(voters),
            "DIRECTORY": self._folder(node) / "data",
            "REPLICAS": min(self.nodes, 3),
            "MIN_ISR": 2 if self.nodes >= 3 else 1,
        }
        text = _packaged("server.properties.in")
        # Comments of the template name the placeholders; they are not copied.
        text = "\n".join(x for x in text.splitlines() if not x.startswith("#"))
        for name, value in values.items():
            text = text.replace(f"@{name}@", str(value))
        return self.extras.apply(text)

    def _format(self, node: int, java_command: Sequence[str]) -> None:
        arguments = ["format", "-t", CLUSTER_ID, "-c", str(self._config(node))]
        arguments += self.extras.format_arguments
        done = subprocess.run(
            [*java_command, "kafka.tools.StorageTool", *arguments],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            words = (done.stdout + done.stderr)[-LOG_TAIL_CHARS:]
            raise BrokerFailedError(f"could not format node {node}'s storage:\n{words}")

    def _wait_until_ready(self, node: int) -> None:
        for _ in range(START_POLLS):
            if self._pid(node) is None:
                raise BrokerFailedError(
                    f"Kafka's node {node} ended while starting; {self._log_tail(node)}"
                )
            if processes.answers(self._port(node)):
                return
            time.sleep(POLL_S)
        raise BrokerFailedError(
            f"Kafka's node {node} did not answer on port {self._port(node)} within "
            f"{START_POLLS * POLL_S:.0f} s; {self._log_tail(node)}"
        )

    def _log_tail(self, node: int) -> str:
        path = self._folder(node) / "server.log"
        text = path.read_text(encoding="utf-8", errors="replace")
        return f"the end of {path}:\n{text[-LOG_TAIL_CHARS:]}"

    def _wait_until_gone(self, node: int) -> bool:
        for _ in range(STOP_POLLS):
            # Its main thread is gone before the last thread lets go of the ports.
            if self._pid(node) is None and not self._taken_ports(node):
                return True
            time.sleep(POLL_S)
        return False

    def _end(self, nodes: Sequence[int]) -> None:
        for number in nodes:
            if (pid := self._pid(number)) is not None:
                # A paused process gets the second signal only once it goes on.
                processes.send(pid, signal.SIGCONT)
                processes.send(pid, signal.SIGTERM)
        for number in nodes:
            if not self._wait_until_gone(number):
                self.kill(number)
            (self._folder(number) / "pid").unlink(missing_ok=True)


def _packaged(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
