"""Under which names a server may be asked for, against DNS rebinding.

A page in somebody's browser can point a name of its own at this machine. So a request
is answered only under a name that is known here; addresses can not be rebound.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

LOCAL_NAMES = ("127.0.0.1", "localhost", "::1")


class HostNames:
    """Names under which one server is reached.

    Parameters
    ----------
    host : str
        Where it listens. Beyond loopback addresses are accepted, too.
    names : iterable of str
        Further names.
    """

    def __init__(self, host: str, names: Iterable[str] = ()) -> None:
        self._names = frozenset(n.lower() for n in (*LOCAL_NAMES, host, *names))
        self._any_address = not is_loopback(host)

    def know(self, header: str) -> bool:
        """Whether a request with this Host header is meant for us."""
        name = _host_name(header)
        if name is None:
            return False
        return name in self._names or (self._any_address and _is_address(name))


def _host_name(header: str) -> str | None:
    """The name of a Host header without its port; None if it is none."""
    text = header.strip().lower()
    if text.startswith("["):
        name, bracket, port = text[1:].partition("]")
        usable = bracket and (not port or port[0] == ":")
        return name if usable else None
    name, _, port = text.partition(":")
    usable = name and (not port or port.isdecimal())
    return name.removesuffix(".") if usable else None


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    if host == "localhost":
        return True
    return _is_address(host) and ipaddress.ip_address(host).is_loopback
