"""Requests to other people's servers: where one may go, and how much may come back.

Addresses come from configuration, never from events; still a name in it may point
anywhere, and may do so only after it was checked. So each request resolves its name
once, checks every address it got, and connects to those alone. Redirects are never
followed, replies are cut, and whether anything was sent at all is always known: only
then may something be tried again.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

SCHEMES = ("https", "http")
REPLY_BYTES_MAX = 64 * 1024
CONNECT_S = 5.0
BODY_S = 5.0
LOOKUPS = 2

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _networks(text: str) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(one) for one in text.split())


NEVER = _networks(
    """
    0.0.0.0/8 169.254.0.0/16 224.0.0.0/4 240.0.0.0/4
    100.100.100.200/32 192.0.0.192/32
    ::/128 fe80::/10 fec0::/10 ff00::/8 fd00:ec2::254/128
    """
)
"""Nobody's receiver: this host, link-local and metadata services, groups."""

INTERNAL = _networks(
    """
    10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24
    192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24
    ::/96 ::ffff:0:0/96 ::ffff:0:0:0/96 64:ff9b::/96 64:ff9b:1::/48 100::/64
    2001::/23 2001:db8::/32 2002::/16 3fff::/20 5f00::/16 fc00::/7
    """
)
"""Not the public Internet, or a way around: receivers there have to be allowed.
``ipaddress.is_global`` calls several of them global."""

NAT64 = ipaddress.ip_network("64:ff9b::/96")


class NotSent(Exception):
    """Nothing has left this machine; the text says why. It may be tried again."""


class Forbidden(NotSent):
    """Nothing may be sent there, whatever the network says."""


class Unanswered(Exception):
    """It was sent, or may have been, and no answer came: nobody knows what it did."""


class Reply(NamedTuple):
    """What a server answered; ``is_cut`` if there was more than we read."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    is_cut: bool


def embedded(address: Address) -> Address | None:
    """The IPv4 address that an IPv6 address leads to, if it does."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    if address in NAT64 or int(address) >> 32 == 0:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return None


def refusal(address: Address, scheme: str, allowed: Sequence[Network]) -> str | None:
    """Why nothing may be sent to an address; None if it may.

    Parameters
    ----------
    address : ipaddress.IPv4Address or ipaddress.IPv6Address
        Where the connection would go.
    scheme : str
        ``http`` is for networks that were allowed: secrets are sent in clear.
    allowed : sequence of networks
        Internal networks of this receiver.
    """
    both = [one for one in (address, embedded(address)) if one is not None]
    if any(_within(one, NEVER) for one in both):
        return f"{address} is no receiver's: link-local, metadata, group or nobody's"
    if any(_within(one, allowed) for one in both):
        return None
    if any(_within(one, INTERNAL) for one in both):
        return f"{address} is not public: add its network to `allow`"
    if scheme != "https":
        return f"{address} would get it unencrypted: use https, or add it to `allow`"
    return None


def _within(address: Address, networks: Sequence[Network]) -> bool:
    return any(address in one for one in networks if one.version == address.version)


class _Pinned(AbstractResolver):
    """Gives the addresses that were checked, whoever asks."""

    def __init__(self, addresses: Sequence[Address]) -> None:
        self._addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The checked addresses."""
        return [
            ResolveResult(
                hostname=host,
                host=str(one),
                port=port,
                family=socket.AF_INET if one.version == 4 else socket.AF_INET6,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for one in self._addresses
        ]

    async def close(self) -> None:
        """Nothing is held."""


class Outgoing:
    """Sends requests of one receiver; what hangs there hangs nowhere else.

    Parameters
    ----------
    allowed : sequence of networks
        Internal networks that it may reach.
    timeout_s : float
        How long the beginning of an answer may take. A name and the rest of an answer
        have five seconds each.
    ca_file : Path or None
        Certificate authorities; the system's where none is given.
    """

    def __init__(
        self,
        *,
        allowed: Sequence[Network] = (),
        timeout_s: float = 15.0,
        ca_file: Path | None = None,
    ) -> None:
        self._allowed = tuple(allowed)
        self._timeout_s = timeout_s
        self._tls = ssl.create_default_context(cafile=ca_file)
        # A name server that is silent holds a thread: let it be one of these.
        self._lookups = ThreadPoolExecutor(LOOKUPS, thread_name_prefix="lookup")

    def close(self) -> None:
        """Wait for nothing."""
        self._lookups.shutdown(wait=False, cancel_futures=True)

    async def addresses(self, url: URL) -> list[Address]:
        """Where a URL leads, each address checked.

        Raises
        ------
        NotSent
            If its name can not be resolved now.
        Forbidden
            If one of its addresses may not be reached.
        """
        if url.scheme not in SCHEMES or not url.host or url.user or url.password:
            raise Forbidden("a URL is https or http, with a host and without a user")
        loop = asyncio.get_running_loop()
        lookup = loop.run_in_executor(self._lookups, _lookup, url.host, url.port or 443)
        try:
            async with asyncio.timeout(min(CONNECT_S, self._timeout_s)):
                found = await lookup
        except (OSError, UnicodeError, TimeoutError) as error:
            words = str(error) or "no answer"
            raise NotSent(f"{url.host} can not be resolved: {words}") from error
        for one in found:
            refused = refusal(one, url.scheme, self._allowed)
            if refused is not None:
                raise Forbidden(f"{url.host}: {refused}")
        return found

    async def send(
        self, method: str, url: URL, headers: Mapping[str, str], body: bytes | None
    ) -> Reply:
        """Send one request; the reply is cut at 64 kB, whatever comes.

        Raises
        ------
        NotSent
            If nothing was sent.
        Unanswered
            If something may have been sent.
        """
        addresses = await self.addresses(url)
        trace, is_connected = aiohttp.TraceConfig(), asyncio.Event()

        async def connected(*_: Any) -> None:
            is_connected.set()

        trace.on_connection_create_end.append(connected)
        try:
            async with self._session(addresses, trace) as session:
                async with asyncio.timeout(self._timeout_s):
                    answer = await session.request(
                        method, url, headers=headers, data=body, allow_redirects=False
                    )
                async with answer:
                    return await _read(answer, min(BODY_S, self._timeout_s))
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            words = f"{url.host}: {str(error) or type(error).__name__}"
            kind = Unanswered if is_connected.is_set() else NotSent
            raise kind(words[:500]) from error

    def _session(
        self, addresses: Sequence[Address], trace: aiohttp.TraceConfig
    ) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            resolver=_Pinned(addresses),
            use_dns_cache=False,
            force_close=True,
            ssl=self._tls,
        )
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            # What would be unpacked could be a thousand times as large.
            auto_decompress=False,
            headers={"Accept-Encoding": "identity", "User-Agent": "hypercare"},
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S),
            trace_configs=[trace],
        )


async def _read(answer: aiohttp.ClientResponse, limit_s: float) -> Reply:
    """Status, headers and the beginning of the body.

    A body that is slow or breaks off takes nothing back of a status that was said.
    """
    body = bytearray()
    try:
        async with asyncio.timeout(limit_s):
            async for piece in answer.content.iter_any():
                body += piece
                if len(body) > REPLY_BYTES_MAX:
                    break
    except (aiohttp.ClientError, TimeoutError):
        return Reply(answer.status, answer.headers, bytes(body), is_cut=True)
    kept = bytes(body[:REPLY_BYTES_MAX])
    return Reply(answer.status, answer.headers, kept, len(body) > REPLY_BYTES_MAX)


def _lookup(host: str, port: int) -> list[Address]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [
        ipaddress.ip_address(one)
        for one in dict.fromkeys(str(entry[4][0]) for entry in found)
    ]
