"""What is wrong with this installation: one line per question, with the fix.

``hypercare doctor`` asks in the order in which things depend on each other and
leaves out what can not be known: behind wrong settings nothing, without a broker
what Kafka would have to answer. Here are the questions of this machine;
:mod:`streams.doctor_cluster` asks Kafka.
"""

from __future__ import annotations

import errno
import http.client
import json
import os
import socket
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from enum import StrEnum
from typing import Any, NamedTuple

from detector.rulefile import RuleFileError
from streams.detecting import read_rules
from streams.rulesdata import DEFAULT_RULES
from streams.settings import Settings, SettingsError
from streams.signing import KeyFileError, Signer

ASK_S = 3.0
NAMES_SHOWN = 5
"""Services or releases named in one line; the rest is a number."""


class Level(StrEnum):
    """How bad a finding is: an error keeps the product from doing its work."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


class Finding(NamedTuple):
    """One answer: what was asked, how bad it is, what was found, what helps."""

    check: str
    level: Level
    what: str
    fix: str = ""

    def __str__(self) -> str:
        line = f"{self.level.value:<8}{self.check:<11}{self.what}"
        return f"{line}. Fix: {self.fix}" if self.fix else line


def ok(check: str, what: str) -> Finding:
    """Return an answer that is as it should be."""
    return Finding(check, Level.OK, what)


def warning(check: str, what: str, fix: str) -> Finding:
    """Return an answer that somebody should know."""
    return Finding(check, Level.WARNING, what, fix)


def error(check: str, what: str, fix: str) -> Finding:
    """Return an answer with which the product can not do its work."""
    return Finding(check, Level.ERROR, what, fix)


def read_settings(
    environment: Mapping[str, str],
) -> tuple[Settings | None, list[Finding]]:
    """Return the settings, None if they can not be used, and what to say of them."""
    try:
        settings = Settings.from_environment(environment)
        settings.require_identity_key()
    except SettingsError as problem:
        return None, [
            error("settings", *_cut(text, ": ", "set it as the text says"))
            for text in problem.problems
        ]
    if settings.demo and not settings.identity_key:
        fix = "set HYPERCARE_IDENTITY_KEY_FILE and unset HYPERCARE_DEMO"
        what = "demonstration with a random identity key: hashes change at every start"
        return settings, [warning("settings", what, fix)]
    return settings, [ok("settings", "every variable HYPERCARE_* is usable")]


def local_findings(settings: Settings) -> Iterator[Finding]:
    """What this machine alone can tell."""
    yield rules_finding(settings)
    yield signing_finding(settings)
    yield disk_finding()
    status, port = port_finding(settings)
    yield port
    if status is not None:
        yield from coverage_findings(status)


def rules_finding(settings: Settings) -> Finding:
    """Is the rule file usable, and which one is it?"""
    source = str(settings.rules or DEFAULT_RULES)
    try:
        rules = read_rules(settings)
    except RuleFileError as problem:
        lines = str(problem).splitlines()
        more = f" (and {len(lines) - 1} more lines)" if len(lines) > 1 else ""
        fix = "correct it; `hypercare rules check` shows every problem"
        return error("rules", f"{lines[0]}{more}", fix)
    except OSError as problem:
        fix = "make it readable for this user, or unset HYPERCARE_RULES"
        return error("rules", f"{source}: {problem.strerror}", fix)
    return ok("rules", f"{source} is valid, {len(rules.rules)} rules")


def signing_finding(settings: Settings) -> Finding:
    """Can those who act tell that recommendations are ours?"""
    if not settings.signing_keys:
        what = "recommendations are not signed: nothing that acts will take them"
        fix = "`hypercare keys new`, then set HYPERCARE_SIGNING_KEYS"
        return warning("signing", what, fix)
    try:
        names = Signer.load(settings.signing_keys).key_ids
    except KeyFileError as problem:
        return error("signing", *_cut(str(problem), ": ", "`hypercare keys new`"))
    return ok("signing", f"recommendations are signed by {', '.join(names)}")


PROBE_BYTES = 65_536


def disk_finding() -> Finding:
    """Can a temporary file be written? Hypercare itself keeps nothing on disk.

    The folder that TMPDIR names is tried itself: Python would quietly go elsewhere.
    """
    folder = os.environ.get("TMPDIR") or tempfile.gettempdir()
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(PROBE_BYTES))
            file.flush()
    except OSError as problem:
        reason = problem.strerror or str(problem)
        fix = "free space or set TMPDIR; a worker needs no disk, its libraries may"
        return warning("disk", f"{folder}: no file can be written: {reason}", fix)
    return ok("disk", f"nothing is kept on disk; files can be written to {folder}")


def port_finding(settings: Settings) -> tuple[dict[str, Any] | None, Finding]:
    """Is the port of the pages free, or do we have it ourselves?

    Returns
    -------
    tuple
        What the worker that has it answers to /v1/status, and the finding.
    """
    host, port = settings.web_host, settings.web_port
    where = f"{host}:{port}"
    status = _status(host, port)
    if status is not None:
        return status, ok("port", f"{where}: a worker answers")
    problem = _bind_problem(host, port)
    if problem is None:
        return None, ok("port", f"{where} is free; no worker runs here")
    fix = "end the program that has it, or set HYPERCARE_WEB_PORT to a free one"
    if problem.errno == errno.EACCES:
        fix = "set HYPERCARE_WEB_PORT to a port above 1023"
    elif problem.errno != errno.EADDRINUSE:
        fix = "set HYPERCARE_WEB_HOST to an address of this machine"
    return None, error("port", f"{where}: {problem.strerror or problem}", fix)


def coverage_findings(status: Mapping[str, Any]) -> Iterator[Finding]:
    """What the running worker sees, and what it can say nothing about."""
    services = status.get("services", [])
    if not services:
        fix = "send events (docs/events.md); `hypercare demo` shows how it looks"
        yield warning("coverage", "the worker has seen no service yet", fix)
        return
    silent = [_name(s) for s in services if "deploys" not in s["last_event_ms"]]
    if silent:
        fix = "send a deploy event at each rollout: inferred releases get watch at most"
        yield warning("coverage", f"no deploy was seen of {_few(silent)}", fix)
    releases = status.get("releases", [])
    unjudged = [f"{_name(r)}/{r['release']}" for r in releases if not r.get("verdict")]
    if unjudged:
        fix = "wait for the first closed window; then look at `hypercare status`"
        yield warning("coverage", f"not judged yet: {_few(unjudged)}", fix)
    if not silent and not unjudged:
        what = f"{len(services)} services with deploys, {len(releases)} releases judged"
        yield ok("coverage", what)


def worst(findings: Sequence[Finding]) -> Level:
    """Return the worst level among the findings."""
    order = list(Level)
    return max((one.level for one in findings), key=order.index, default=Level.OK)


def _status(host: str, port: int) -> dict[str, Any] | None:
    if port == 0:
        return None
    connection = http.client.HTTPConnection(_reachable(host), port, timeout=ASK_S)
    with closing(connection):
        try:
            connection.request("GET", "/v1/status")
            answer = connection.getresponse()
            found = json.loads(answer.read())
        except (OSError, http.client.HTTPException, ValueError):
            return None
    is_ours = answer.status == 200 and isinstance(found, dict) and "lanes" in found
    return found if is_ours else None


def _bind_problem(host: str, port: int) -> OSError | None:
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM
        )[0]
        with socket.socket(family, kind, proto) as probe:
            if os.name == "posix":
                # As the server does: a port in TIME_WAIT is free.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as problem:
        return problem
    return None


def _reachable(host: str) -> str:
    """Return the address to ask a server that listens on every address."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104


def _name(thing: Mapping[str, Any]) -> str:
    return f"{thing['service']}/{thing['environment']}"


def _few(names: Sequence[str]) -> str:
    shown = ", ".join(names[:NAMES_SHOWN])
    rest = len(names) - NAMES_SHOWN
    return f"{shown} and {rest} more" if rest > 0 else shown


def _cut(text: str, at: str, otherwise: str) -> tuple[str, str]:
    """Return a message as what and fix; ours are written ``what: fix``."""
    what, _, fix = " ".join(text.split()).rpartition(at)
    return (what, fix) if what else (fix, otherwise)
