"""Tells whether a recorded process is alive and ours, and signals only then.

A pid file outlives its process: the number may belong to a stranger by now, or
to a zombie nobody has waited for. Both count as "not running" here.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path

from streams.kafka_local.errors import PortTakenError

CONNECT_TIMEOUT_S = 2.0
API_VERSIONS_KEY = 18
PR_SET_PDEATHSIG = 1
PORT_FIRST = 20_000
PORT_LAST = 32_000


_CHILDREN: set[subprocess.Popen[bytes]] = set()
"""Those this process started and has not waited for; a broker may outlive us."""


def adopt(child: subprocess.Popen[bytes]) -> None:
    """Remember a child, so that ``reap`` can wait for it once it has ended."""
    _CHILDREN.add(child)


def reap() -> None:
    """Wait for all adopted children that have ended, so that none stays a zombie."""
    ended = {child for child in _CHILDREN if child.poll() is not None}
    _CHILDREN.difference_update(ended)


def read_pid(pid_file: Path, marker: str) -> int | None:
    """Give the live process a pid file names, None if it is gone or a stranger's.

    Parameters
    ----------
    pid_file : Path
        File with one decimal number.
    marker : str
        Text that the command line of our process, and of no other, contains.
    """
    try:
        pid = int(pid_file.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    if any(child.pid == pid and child.poll() is None for child in _CHILDREN):
        # Ours for certain; right after exec its command line is still empty.
        return pid
    state, command = _inspect(pid)
    alive = state not in ("", "Z", "X")
    return pid if alive and marker in command else None


def _inspect(pid: int) -> tuple[str, str]:
    """Say state letter and command line of a process, empty when there is none."""
    if not Path("/proc/self/stat").exists():
        return _inspect_with_ps(pid)
    folder = Path("/proc") / str(pid)
    try:
        # The name in parentheses may itself contain spaces and parentheses.
        state = (folder / "stat").read_text().rsplit(")", 1)[1].split()[0]
        command = (folder / "cmdline").read_bytes().replace(b"\0", b" ")
    except OSError:
        return "", ""
    return state, command.decode(errors="replace")


def _inspect_with_ps(pid: int) -> tuple[str, str]:
    done = subprocess.run(
        ["ps", "-ww", "-o", "state=,command=", "-p", str(pid)],
        capture_output=True,
        text=True,
        check=False,
    )
    state, _, command = done.stdout.strip().partition(" ")
    return state[:1], command


def send(pid: int, number: signal.Signals) -> None:
    """Signal one process; that it ended in the meantime is no error."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def die_with_parent() -> None:
    """Ask Linux to kill this process when the thread that started it ends.

    Runs in the child between fork and exec; elsewhere it changes nothing.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def port_is_free(port: int) -> bool:
    """Say whether a server could listen on this loopback port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As Kafka does: a port in TIME_WAIT of a stopped broker is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_ports(count: int) -> int:
    """Find the first of ``count`` neighbouring loopback ports that are all free.

    Below the range systems draw outgoing ports from: a client that keeps trying
    a dead broker's port inside that range may one day be connected to itself.
    """
    span = PORT_LAST - PORT_FIRST - count
    offset = os.getpid() * count
    for step in range(0, span, count):
        first = PORT_FIRST + (offset + step) % span
        if all(map(port_is_free, range(first, first + count))):
            return first
    raise PortTakenError(
        f"no {count} neighbouring free ports between {PORT_FIRST} and {PORT_LAST}"
    )


def answers(port: int) -> bool:
    """Say whether a Kafka broker on this loopback port answers a request.

    Sends ApiVersions, version 0, the one request every broker must answer; an
    open port alone does not show that requests are being processed.
    """
    client = b"hypercare"
    header = struct.pack(">hhih", API_VERSIONS_KEY, 0, 1, len(client)) + client
    try:
        with socket.create_connection(("127.0.0.1", port), CONNECT_TIMEOUT_S) as link:
            link.sendall(struct.pack(">i", len(header)) + header)
            answer = link.recv(10)
    except OSError:
        return False
    # Size, the correlation id sent, then the error code: 0 is ready.
    return len(answer) == 10 and answer[4:] == struct.pack(">ih", 1, 0)
