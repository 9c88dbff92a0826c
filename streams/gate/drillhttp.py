"""A drill through the gates' own server: claimed over HTTP, and stopped as a drill."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import aiohttp
import msgspec

from acting.answers import Answer, Why
from detector.verdicts import RecommendationRecord
from streams.gate.bodies import RulingTold
from streams.gate.drill import Step

PATH = "/v1/claims"
ANSWER_BYTES_MAX = 64 * 1024
REQUEST_S = 10.0
AGAIN_S = 0.5
UNREAD = (Answer.UNDECIDED, Answer.STALE)
"""Heard by who asks before the server has read the drill, which it follows."""


class Door(NamedTuple):
    """A server of gates: its address, a token of scope act, authorities of its TLS."""

    url: str
    token: str
    ca_file: Path | None = None

    @property
    def name(self) -> str:
        """Host and port, without what an address may hide."""
        return self.url.split("://", 1)[-1].split("/")[0].rpartition("@")[2]


def through(
    door: Door,
    wanted: RecommendationRecord,
    token: str,
    limit_s: float,
    monotonic_s: Callable[[], float],
) -> Step:
    """Claim a drill at a server until it is stopped as one, or the time is over."""
    begun_s = monotonic_s()
    is_fine, text = asyncio.run(_claimed(door, wanted, token, limit_s))
    took_ms = round((monotonic_s() - begun_s) * 1000)
    return Step(f"gates {door.name}", is_fine, took_ms, text)


async def _claimed(
    door: Door, wanted: RecommendationRecord, token: str, limit_s: float
) -> tuple[bool, str]:
    asked = {
        "service": wanted.service,
        "environment": wanted.environment,
        "release": wanted.release,
        "token": token,
        "lease_s": 60,
    }
    text = "nothing"
    tls = ssl.create_default_context(cafile=door.ca_file)
    try:
        async with asyncio.timeout(limit_s), _session(door, tls) as session:
            while True:
                is_fine, is_over, text = await _asked(session, door, asked)
                if is_over:
                    return is_fine, text
                await asyncio.sleep(AGAIN_S)
    except TimeoutError:
        return False, f"no drill was stopped within {limit_s:g} s; last heard: {text}"


def _session(door: Door, tls: ssl.SSLContext) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=tls, force_close=True),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"Authorization": f"Bearer {door.token}", "User-Agent": "hypercare"},
        timeout=aiohttp.ClientTimeout(total=REQUEST_S),
    )


async def _asked(
    session: aiohttp.ClientSession, door: Door, asked: dict[str, object]
) -> tuple[bool, bool, str]:
    """Whether it was stopped as a drill, whether that is final, and what was said."""
    try:
        answer = await session.post(
            door.url.rstrip("/") + PATH, json=asked, allow_redirects=False
        )
        async with answer:
            body = await answer.content.read(ANSWER_BYTES_MAX)
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        return False, False, str(error) or type(error).__name__
    if answer.status != 200:
        words = body[:200].decode("utf-8", "replace")
        return False, answer.status < 500, f"answered {answer.status}: {words}"
    try:
        told = msgspec.json.decode(body, type=RulingTold)
    except msgspec.DecodeError as error:
        return False, True, f"this is no server of gates: {error}"
    is_fine = (told.answer, told.why) == (Answer.MODE_TOO_LOW, Why.DRILL)
    text = f"{told.answer} {told.why}: {told.text}"
    return is_fine, is_fine or told.answer not in UNREAD, text
