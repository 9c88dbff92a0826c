"""What can be set, from environment variables ``HYPERCARE_*``.

A value is read once, checked at once, and a wrong one is refused with the name of
the variable, what was found and what would be right. All problems are reported
together. Nothing else in the project reads the environment.
"""

from __future__ import annotations

import difflib
import math
import os
import re
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from streams.connection import Connection
from streams.connectionvars import (
    CONNECTION_VARIABLES,
    LOCAL_VARIABLES,
    read_connection,
)

PREFIX = "HYPERCARE_"
IDENTITY_KEY_BYTES_MIN = 16

#: Variables that other parts of the project read: not ours to call unknown.
FOREIGN = ("MAVEN_", "JAVA", "DEMO_", "LOG_")


class SettingsError(Exception):
    """The environment can not be used; the text names each variable and the fix."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(problems))


class StateReset(StrEnum):
    """What to do with a partition that has no usable state.

    ``no`` refuses (condition ``blind``), ``rebuild`` reads the log again from its
    start, ``skip`` begins empty at its end.
    """

    NO = "no"
    REBUILD = "rebuild"
    SKIP = "skip"


class SourceKind(StrEnum):
    """Who reads the log.

    ``faust``: Faust's consumer. ``own``: a consumer of ours in the same group, for
    the day on which a release of Faust breaks the first one.
    """

    FAUST = "faust"
    OWN = "own"


def _worker_name() -> str:
    return f"{socket.gethostname()}-{os.getpid()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How one worker is set up.

    Parameters
    ----------
    kafka : str
        Bootstrap servers, ``host:port`` separated by commas.
    connection : Connection
        How the servers are reached: encryption, user, compression.
    group : str
        Consumer group, and the name under which offsets are committed.
    prefix : str
        First part of every topic name.
    partitions : int
        Partitions of the log and of its state. Fixed once there is state.
    hot_partitions : int
        Partitions of the topic that combiners read; 0 where there are none.
    replication : int
        Replicas of the topics that are created; 3 in production.
    worker : str
        Name of this process in claims and log lines.
    snapshot_interval_s : float
        Longest time between two snapshots of a changed partition. Shorter: verdicts
        leave sooner and less is read again after a crash; longer: fewer writes.
    tick_interval_s : float
        How often a silent partition is told the time. Longer delays the close of
        the last windows of a service that went quiet.
    io_timeout_s : float
        Limit of every single wait for Kafka.
    shutdown_timeout_s : float
        Limit of the orderly end; afterwards the process ends anyway.
    session_timeout_s : float
        Silence after which Kafka gives our partitions to another worker.
    state_reset : StateReset
        See :class:`StateReset`.
    source : SourceKind
        See :class:`SourceKind`. Workers of both kinds can share a group.
    identity_key : bytes
        Secret with which users and sessions are hashed at the edge.
    rules : Path or None
        Rule file; the shipped rules where there is none. Read again when it changes.
    web_host, web_port : str, int
        Where /metrics, /healthz, /readyz and /v1/status are served. Loopback by
        default: nothing there asks for a password.
    web_names : tuple of str
        Further host names under which the pages may be asked for.
    demo : bool
        Demonstration on one machine: a random identity key will do.
    """

    kafka: str = "127.0.0.1:9092"
    connection: Connection = field(default_factory=Connection)
    group: str = "hypercare"
    prefix: str = "hypercare"
    partitions: int = 4
    hot_partitions: int = 0
    replication: int = 1
    worker: str = field(default_factory=_worker_name)
    snapshot_interval_s: float = 2.0
    tick_interval_s: float = 5.0
    io_timeout_s: float = 10.0
    shutdown_timeout_s: float = 10.0
    session_timeout_s: float = 15.0
    state_reset: StateReset = StateReset.NO
    source: SourceKind = SourceKind.FAUST
    identity_key: bytes = field(default=b"", repr=False)
    rules: Path | None = None
    web_host: str = "127.0.0.1"
    web_port: int = 9108
    web_names: tuple[str, ...] = ()
    demo: bool = False

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """Return the settings of an environment, or raise with all its problems."""
        problems: list[str] = _unknown(environment)
        values: dict[str, object] = {}
        for name, variable in VARIABLES.items():
            text = environment.get(PREFIX + variable.name)
            if text is None or text == "":
                continue
            try:
                values[name] = variable.parse(text)
            except ValueError as error:
                problems.append(f"{PREFIX}{variable.name}={text!r}: {error}")
        values |= _identity_key(environment, problems)
        values["connection"] = read_connection(environment, problems)
        if problems:
            raise SettingsError(problems)
        return cls(**values)  # type: ignore[arg-type]

    def topic(self, name: str) -> str:
        """Return the full name of a topic known by its last part."""
        return f"{self.prefix}.{name}"

    def require_identity_key(self) -> bytes:
        """Return the identity key, or say how to make one.

        The demonstration may go without: it then uses a random key, and hashes of
        two runs can not be compared.
        """
        if self.identity_key:
            return self.identity_key
        if self.demo:
            return os.urandom(32)
        raise SettingsError(
            [
                f"{PREFIX}IDENTITY_KEY is not set: users and sessions must be hashed "
                "with a secret key before they reach the log. Make one with `openssl "
                f"rand -hex 32`, store it and set {PREFIX}IDENTITY_KEY or "
                f"{PREFIX}IDENTITY_KEY_FILE to the same value on every worker "
                f"(or set {PREFIX}DEMO=1 for a demonstration)"
            ]
        )


@dataclass(frozen=True, slots=True)
class Variable:
    """One variable: its name after the prefix, its parser, what it is for."""

    name: str
    parse: Callable[[str], object]
    help: str


def _number(low: float, high: float) -> Callable[[str], object]:
    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            raise ValueError(f"must be a number of seconds from {low:g} to {high:g}")
        return value

    return parse


def _integer(low: int, high: int) -> Callable[[str], object]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", text) or not low <= int(text) <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return int(text)

    return parse


def _bootstrap(text: str) -> object:
    for server in text.split(","):
        host, colon, port = server.strip().rpartition(":")
        if not (host and colon and port.isdecimal() and 0 < int(port) < 65536):
            raise ValueError("must be host:port, several separated by commas")
    return ",".join(server.strip() for server in text.split(","))


def _name(text: str) -> object:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", text):
        raise ValueError("must be 1 to 100 letters, digits, '.', '_' or '-'")
    return text


def _file(text: str) -> object:
    if not Path(text).is_file():
        raise ValueError("there is no such file")
    return Path(text)


def _host(text: str) -> object:
    if not re.fullmatch(r"[A-Za-z0-9.:_-]{1,255}", text):
        raise ValueError("must be a host name or an IP address")
    return text


def _hosts(text: str) -> object:
    return tuple(str(_host(name.strip())) for name in text.split(","))


def _flag(text: str) -> object:
    if text not in ("0", "1"):
        raise ValueError("must be 0 or 1")
    return text == "1"


def _reset(text: str) -> object:
    try:
        return StateReset({"0": "no", "1": "rebuild"}.get(text, text))
    except ValueError:
        allowed = ", ".join(StateReset)
        raise ValueError(f"must be one of {allowed} (1: rebuild)") from None


def _source(text: str) -> object:
    try:
        return SourceKind(text)
    except ValueError:
        raise ValueError(f"must be one of {', '.join(SourceKind)}") from None


VARIABLES: dict[str, Variable] = {
    "kafka": Variable("KAFKA", _bootstrap, "bootstrap servers, host:port,..."),
    "group": Variable("GROUP", _name, "consumer group"),
    "prefix": Variable("PREFIX", _name, "first part of every topic name"),
    "partitions": Variable("PARTITIONS", _integer(1, 1024), "partitions of the log"),
    "hot_partitions": Variable(
        "HOT_PARTITIONS", _integer(0, 1024), "partitions for combiners; 0: none"
    ),
    "replication": Variable("REPLICATION", _integer(1, 9), "replicas of new topics"),
    "worker": Variable("WORKER", _name, "name of this process in claims"),
    "snapshot_interval_s": Variable(
        "SNAPSHOT_INTERVAL", _number(0.05, 300), "seconds between snapshots"
    ),
    "tick_interval_s": Variable(
        "TICK_INTERVAL", _number(0.05, 300), "seconds between ticks when silent"
    ),
    "io_timeout_s": Variable(
        "IO_TIMEOUT", _number(1, 300), "seconds to wait for Kafka"
    ),
    "shutdown_timeout_s": Variable(
        "SHUTDOWN_TIMEOUT", _number(1, 300), "seconds for an orderly end"
    ),
    "session_timeout_s": Variable(
        "SESSION_TIMEOUT", _number(1, 90), "seconds until Kafka calls us dead"
    ),
    "state_reset": Variable("STATE_RESET", _reset, "no, rebuild or skip"),
    "source": Variable("SOURCE", _source, "faust or own: whose consumer reads the log"),
    "rules": Variable("RULES", _file, "rule file"),
    "web_host": Variable("WEB_HOST", _host, "address of /metrics and /readyz"),
    "web_port": Variable("WEB_PORT", _integer(0, 65535), "port of /metrics"),
    "web_names": Variable("WEB_NAMES", _hosts, "further host names, with commas"),
    "demo": Variable("DEMO", _flag, "1: demonstration, random identity key"),
}
IDENTITY = ("IDENTITY_KEY", "IDENTITY_KEY_FILE")


def _unknown(environment: Mapping[str, str]) -> list[str]:
    """Report names that look like ours and are not: a typo must not be silent."""
    known = [variable.name for variable in VARIABLES.values()] + list(IDENTITY)
    known += [f"KAFKA_{name}" for name in (*CONNECTION_VARIABLES, *LOCAL_VARIABLES)]
    problems = []
    for full in sorted(environment):
        name = full.removeprefix(PREFIX)
        if name == full or name in known or name.startswith(FOREIGN):
            continue
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
        if near:
            problems.append(f"{full}: unknown variable, did you mean {PREFIX}{near[0]}")
        elif name.startswith("KAFKA_"):
            # Nobody may believe to be protected by a setting that nobody reads.
            problems.append(f"{full}: unknown variable, see docs/kafka.md")
    return problems


def _identity_key(
    environment: Mapping[str, str], problems: list[str]
) -> dict[str, object]:
    """Read the key from the variable or the file it names; never echo it."""
    text = environment.get(PREFIX + "IDENTITY_KEY", "")
    path = environment.get(PREFIX + "IDENTITY_KEY_FILE", "")
    source = PREFIX + ("IDENTITY_KEY" if text else "IDENTITY_KEY_FILE")
    if text and path:
        problems.append(f"{source} and {source}_FILE are both set: keep one of them")
        return {}
    if path:
        try:
            text = Path(path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            problems.append(f"{source}={path!r}: can not be read: {error}")
            return {}
    if not text and not path:
        return {}
    key = text.encode()
    if len(key) < IDENTITY_KEY_BYTES_MIN:
        problems.append(
            f"{source}: the key has {len(key)} bytes, at least "
            f"{IDENTITY_KEY_BYTES_MIN} are needed: use `openssl rand -hex 32`"
        )
    return {"identity_key": key}
