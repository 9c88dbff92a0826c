"""What can be set, from environment variables ``HYPERCARE_*``.

A value is read once, checked at once, and a wrong one is refused with the name of
the variable, what was found and what would be right. All problems are reported
together. Nothing else in the project reads the environment.
"""

from __future__ import annotations

import difflib
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from streams.connection import Connection
from streams.connectionvars import (
    CONNECTION_VARIABLES,
    LOCAL_VARIABLES,
    read_connection,
)
from streams.variables import (
    Variable,
    bootstrap,
    file,
    files,
    flag,
    host,
    hosts,
    integer,
    name,
    seconds,
)

PREFIX = "HYPERCARE_"
IDENTITY_KEY_BYTES_MIN = 16

#: Variables that other parts of the project read: not ours to call unknown.
FOREIGN = ("MAVEN_", "JAVA", "DEMO_", "LOG_", "GATE_")


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
    signing_keys : tuple of Path
        Private keys, each of which signs recommendations; none: they are not signed,
        and nothing that acts takes them.
    public_keys : tuple of Path
        Public keys of those whose recommendations `hypercare gate` takes.
    safe_to_return : Path or None
        Program that says whether one may go back to a release; None: nobody objects.
    stop : bool
        `hypercare gate` lets nothing be executed.
    stop_file : Path
        While this file is there, `hypercare gate` lets nothing be executed.
    rules : Path or None
        Rule file; the shipped rules where there is none. Read again when it changes.
    web_host, web_port : str, int
        Where /metrics, /healthz, /readyz and /v1/status are served. Loopback by
        default: nothing there asks for a password.
    web_names : tuple of str
        Further host names under which the pages may be asked for.
    gates_host, gates_port : str, int
        Where `hypercare gates serve` listens.
    gates_tokens : Path or None
        File of the tokens that may ask the gates; read again when it changes.
    gates_tls_cert, gates_tls_key, gates_tls_clients : Path or None
        Certificate and key of the gates, and who signs their clients' certificates.
    gates_plain : bool
        Tokens may go in the clear beyond this machine: a proxy in front speaks TLS.
    gates_rate : int
        Requests a second of one token; ten seconds' worth may come at once.
    flags_file : Path or None
        File of the feature flags that the gates serve.
    actuators : Path or None
        File of the receivers that `hypercare act` serves.
    act_host, act_port : str, int
        Where `hypercare act` serves /metrics, /healthz and /readyz.
    demo : bool
        Demonstration on one machine: a random identity key will do.
    shadow : str
        Name of a candidate rule set whose topics are meant; no variable: a worker can
        never have one.
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
    signing_keys: tuple[Path, ...] = ()
    public_keys: tuple[Path, ...] = ()
    safe_to_return: Path | None = None
    stop: bool = False
    stop_file: Path = Path("/var/lib/hypercare/STOP")
    rules: Path | None = None
    web_host: str = "127.0.0.1"
    web_port: int = 9108
    web_names: tuple[str, ...] = ()
    gates_host: str = "127.0.0.1"
    gates_port: int = 9109
    gates_tokens: Path | None = None
    gates_tls_cert: Path | None = None
    gates_tls_key: Path | None = None
    gates_tls_clients: Path | None = None
    gates_plain: bool = False
    gates_rate: int = 50
    flags_file: Path | None = None
    actuators: Path | None = None
    act_host: str = "127.0.0.1"
    act_port: int = 9111
    demo: bool = False
    shadow: str = ""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """Return the settings of an environment, or raise with all its problems."""
        problems: list[str] = _unknown(environment)
        values: dict[str, object] = {}
        for attribute, variable in VARIABLES.items():
            text = environment.get(PREFIX + variable.name)
            if text is None or text == "":
                continue
            try:
                values[attribute] = variable.parse(text)
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
    "kafka": Variable("KAFKA", bootstrap, "bootstrap servers, host:port,..."),
    "group": Variable("GROUP", name, "consumer group"),
    "prefix": Variable("PREFIX", name, "first part of every topic name"),
    "partitions": Variable("PARTITIONS", integer(1, 1024), "partitions of the log"),
    "hot_partitions": Variable(
        "HOT_PARTITIONS", integer(0, 1024), "partitions for combiners; 0: none"
    ),
    "replication": Variable("REPLICATION", integer(1, 9), "replicas of new topics"),
    "worker": Variable("WORKER", name, "name of this process in claims"),
    "snapshot_interval_s": Variable(
        "SNAPSHOT_INTERVAL", seconds(0.05, 300), "seconds between snapshots"
    ),
    "tick_interval_s": Variable(
        "TICK_INTERVAL", seconds(0.05, 86_400), "seconds between ticks when silent"
    ),
    "io_timeout_s": Variable(
        "IO_TIMEOUT", seconds(1, 300), "seconds to wait for Kafka"
    ),
    "shutdown_timeout_s": Variable(
        "SHUTDOWN_TIMEOUT", seconds(1, 300), "seconds for an orderly end"
    ),
    "session_timeout_s": Variable(
        "SESSION_TIMEOUT", seconds(1, 90), "seconds until Kafka calls us dead"
    ),
    "state_reset": Variable("STATE_RESET", _reset, "no, rebuild or skip"),
    "source": Variable("SOURCE", _source, "faust or own: whose consumer reads the log"),
    "signing_keys": Variable(
        "SIGNING_KEYS", files, "private keys that sign recommendations, with commas"
    ),
    "public_keys": Variable(
        "PUBLIC_KEYS", files, "public keys that `hypercare gate` trusts, with commas"
    ),
    "safe_to_return": Variable(
        "SAFE_TO_RETURN", file, "program that may object to a rollback's target"
    ),
    "stop": Variable("STOP", flag, "1: `hypercare gate` executes nothing"),
    "stop_file": Variable(
        "STOP_FILE", Path, "while it is there, `hypercare gate` executes nothing"
    ),
    "rules": Variable("RULES", file, "rule file"),
    "web_host": Variable("WEB_HOST", host, "address of /metrics and /readyz"),
    "web_port": Variable("WEB_PORT", integer(0, 65535), "port of /metrics"),
    "web_names": Variable("WEB_NAMES", hosts, "further host names, with commas"),
    "gates_host": Variable("GATES_HOST", host, "address of the gates"),
    "gates_port": Variable("GATES_PORT", integer(0, 65535), "port of the gates"),
    "gates_tokens": Variable("GATES_TOKENS", file, "file of those who may ask them"),
    "gates_tls_cert": Variable("GATES_TLS_CERT", file, "certificate of the gates, PEM"),
    "gates_tls_key": Variable("GATES_TLS_KEY", file, "its key, PEM"),
    "gates_tls_clients": Variable(
        "GATES_TLS_CLIENTS", file, "who signs certificates of their clients, PEM"
    ),
    "gates_plain": Variable(
        "GATES_PLAIN", flag, "1: tokens may go in the clear, TLS ends in front"
    ),
    "gates_rate": Variable(
        "GATES_RATE", integer(1, 100_000), "requests a second of one token"
    ),
    "flags_file": Variable("FLAGS_FILE", file, "file of feature flags that they serve"),
    "actuators": Variable(
        "ACTUATORS", file, "file of the receivers of `hypercare act`"
    ),
    "act_host": Variable("ACT_HOST", host, "address of the metrics of `hypercare act`"),
    "act_port": Variable("ACT_PORT", integer(0, 65535), "port of these metrics"),
    "demo": Variable("DEMO", flag, "1: demonstration, random identity key"),
}
IDENTITY = ("IDENTITY_KEY", "IDENTITY_KEY_FILE")


def _unknown(environment: Mapping[str, str]) -> list[str]:
    """Report names that look like ours and are not: a typo must not be silent."""
    known = [variable.name for variable in VARIABLES.values()] + list(IDENTITY)
    known += [f"KAFKA_{one}" for one in (*CONNECTION_VARIABLES, *LOCAL_VARIABLES)]
    problems = []
    for full in sorted(environment):
        word = full.removeprefix(PREFIX)
        if word == full or word in known or word.startswith(FOREIGN):
            continue
        near = difflib.get_close_matches(word, known, n=1, cutoff=0.8)
        if near:
            problems.append(f"{full}: unknown variable, did you mean {PREFIX}{near[0]}")
        elif word.startswith("KAFKA_"):
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
