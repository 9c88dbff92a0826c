"""Rows about what comes in and what must not go out: clocks, rubbish, bombs, floods."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient

from detector.verdicts import RecommendationState
from streams.halt import Exit
from streams.refusals import TOO_LARGE
from streams.topics import DEADLETTER, LOG
from streams.wallclock import monotonic_s
from tests.faults import golden
from tests.faults.bombs import MEGABYTES, send_bomb
from tests.faults.clock import Clock
from tests.faults.rows_data import services, undisturbed
from tests.faults.scene import Scene
from tests.integration.detecting import pause
from tests.integration.support import until

JUMPS_S = (-7_200, 10_800, 10 * 365 * 86_400, 0)
JUMP_AT, JUMP_EVERY = 4, 3

RUBBISH = b'{"kind": "usage", "ts": "yesterday"}'
RUBBISH_PER_S = 100

BOMB_RISE_MAX_MB = 64.0
BIG_BYTES = 900_000

BIG = "shop-big"

RELEASES_EACH = 100
NAME_PADDING = 50
SLOPE_MAX_MB = 1.0

SERIES_MAX = 10_000
PAGE_MAX_BYTES = 2_000_000


def jumping_clock(scene: Scene, _: int) -> None:
    """Row 9: two hours back, three ahead, ten years ahead, right again."""
    clock = Clock(scene.made.folder)
    scene.start("w0", clock.environment())
    scene.ready("w0")
    for number, seconds in enumerate(JUMPS_S):
        scene.at_window(JUMP_AT + number * JUMP_EVERY)
        scene.history.note("fault", kind="clock", seconds=seconds)
        clock.jump(seconds)
    until(lambda: bool(scene.made.recommendations()), what="the recommendation")
    clock.jump(JUMPS_S[2])
    scene.at_window(scene.traffic.window + 2)
    scene.traffic.stop()


def jumping_clock_after(scene: Scene) -> None:
    """No jump may have ended what stands, or have made anything late."""
    states = {r.state for r in scene.made.recommendations()}
    scene.want(states == {RecommendationState.OPEN}, f"states: {states}")


def rubbish(scene: Scene, seconds: int) -> None:
    """Row 13: nothing but rubbish on a topic; the worker says that it is blind."""
    scene.start("w0")
    scene.ready("w0")
    scene.at_window(45)
    topic, producer = scene.made.settings.topic("usage"), scene.made.producer()
    begun_s, sent = monotonic_s(), 0
    while monotonic_s() - begun_s < seconds or sent < 1_500:
        for _ in range(RUBBISH_PER_S):
            producer.send(topic, RUBBISH, partition=sent % 4)
            sent += 1
        producer.flush()
        pause(1.0 if sent > 1_500 else 0.05)
    until(lambda: metric(scene, BLIND) == [1.0], what="the worker says it is blind")
    scene.notes.append(f"{sent} refused, blind")
    scene.sent_beside = sent
    producer.close()


BLIND = 'hypercare_detector_blind{environment="",reason="input",service=""}'


def metric(scene: Scene, name: str) -> list[float]:
    """Value of a metric at every worker."""
    wanted = re.compile(rf"^{re.escape(name)} (\S+)$", re.MULTILINE)
    pages = [body.decode() for _, body in scene.pages("/metrics")]
    return [float(value) for page in pages for value in wanted.findall(page)]


def rubbish_after(scene: Scene) -> None:
    """Each refused record is a dead letter with its reason and place."""
    letters = [json.loads(r.value) for r in scene.made.read(DEADLETTER)]
    places = {(x["topic"], x["partition"], x["offset"]) for x in letters}
    scene.want(
        len(places) == scene.sent_beside,
        f"{len(places)} dead letters of {scene.sent_beside}",
    )


def refuse_letters(scene: Scene, refuse: bool) -> None:
    """Let the topic of dead letters take nothing, or everything again."""
    admin: Any = KafkaAdminClient(bootstrap_servers=scene.made.settings.kafka)
    try:
        limit = "1" if refuse else "1048588"
        topic = scene.made.settings.topic(DEADLETTER)
        changed = ConfigResource(
            ConfigResourceType.TOPIC, topic, {"max.message.bytes": limit}
        )
        admin.alter_configs([changed])
    finally:
        admin.close()


def no_letters(scene: Scene, _: int) -> None:
    """Row 14: dead letters are refused; what caused them is not dropped.

    In the log the verdicts go on and the page names the topic; at the ingress the
    worker ends in front of the record, again and again, and names it too.
    """
    letters = scene.made.settings.topic(DEADLETTER)
    scene.start("w0")
    scene.ready("w0")
    refuse_letters(scene, refuse=True)
    producer = scene.made.producer()
    producer.send(scene.made.settings.topic(LOG), b"{rubbish", partition=0)
    producer.flush()
    until(
        lambda: (
            [s for s, b in scene.pages("/readyz") if letters.encode() in b] == [503]
        ),
        what="the page says that dead letters can not leave",
    )
    scene.heal("verdicts go on beside them")
    place = producer.send(scene.made.settings.topic("usage"), RUBBISH, partition=1).get(
        timeout=20
    )
    producer.close()
    for name in ("w0", "w1"):
        code = scene.gone(name, limit_s=60)
        scene.want(code == Exit.HANDLER, f"{name} ended with {code}")
        said = f"usage[1]@{place.offset}"
        scene.want(said in scene.made.said(name), f"{name} does not say {said}")
        scene.want(letters in scene.made.said(name), f"{name} does not say {letters}")
        if name == "w0":
            scene.start("w1")
    refuse_letters(scene, refuse=False)
    scene.start("w2")
    scene.ready("w2")
    scene.heal("dead letters are taken again")


def no_letters_after(scene: Scene) -> None:
    """Both records that could not be used are told of."""
    letters = [json.loads(r.value) for r in scene.made.read(DEADLETTER)]
    topics = {x["topic"].rpartition(".")[2] for x in letters}
    scene.want(topics == {"usage", "events"}, f"dead letters of {topics}")


def bombs(scene: Scene, topics: int) -> None:
    """Row 15: a big record counts; batches that would burst are stepped over.

    In the log first, where everything meets; then at the ingress too.
    """
    scene.start("w0")
    scene.ready("w0")
    scene.at_window(30)
    scene.heal("all is well")
    before_mb = scene.peak_mb()
    names = (LOG, "usage")[:topics]
    for name in names:
        for codec, megabytes in MEGABYTES.items():
            topic = scene.made.settings.topic(name)
            kafka = scene.made.settings.kafka
            place, size = asyncio.run(send_bomb(kafka, topic, 2, codec, megabytes))
            assert size < 1_000_000
            until(
                lambda at=f"{topic}[2]@{place}..": at in scene.made.said("w0"),  # type: ignore[misc]
                what=f"{codec} in {topic} is stepped over",
            )
    scene.heal("the bombs are passed")
    rise_mb = scene.peak_mb() - before_mb
    scene.sent_bombs = len(names) * len(MEGABYTES)
    scene.notes.append(f"{rise_mb:+.0f} MB by {scene.sent_bombs} bombs")
    scene.want(rise_mb <= BOMB_RISE_MAX_MB, f"memory rose by {rise_mb:.0f} MB")
    _send_big(scene)


def _send_big(scene: Scene) -> None:
    """A message of 900 kB is counted, event by event."""
    ts = scene.traffic.sent_until_ms
    event = {"kind": "usage", "ts": ts, "service": BIG, "release": "1.0"}
    event["attrs"] = {"os": "android"}
    size = len(msgspec.json.encode({**event, "id": "b00000"})) + 1
    events = [{**event, "id": f"b{n:05}"} for n in range(BIG_BYTES // size)]
    scene.sent_beside = len(events)
    producer = scene.made.producer()
    topic = scene.made.settings.topic("usage")
    producer.send(topic, msgspec.json.encode(events), key=BIG.encode()).get(timeout=20)
    producer.close()

    def arrived() -> bool:
        return any(s["service"] == BIG for s in services(scene))

    until(arrived, what="the big message is read")


def bombs_after(scene: Scene) -> None:
    """The big one is counted whole; every bomb is a dead letter."""
    counted = golden.units(golden.live_partitions(scene.made))[BIG, "1.0"]
    scene.want(
        counted == scene.sent_beside, f"{counted} of {scene.sent_beside} counted"
    )
    letters = [json.loads(r.value) for r in scene.made.read(DEADLETTER)]
    # A batch that is fetched again is refused again, under the same id.
    places = {(x["reason"], x["topic"], x["offset"]) for x in letters}
    reasons = [reason for reason, _, _ in places]
    scene.want(reasons == [TOO_LARGE] * scene.sent_bombs, f"dead letters: {places}")


def flood(scene: Scene, releases: int) -> None:
    """Rows 16 and 17: made-up releases by the hundred thousand, scraped meanwhile."""
    scene.start("w0")
    scene.ready("w0")
    scene.at_window(30)
    scene.heal("all is well")
    over = threading.Event()
    pages: list[tuple[float, int, int]] = []
    scraper = threading.Thread(target=_scrape, args=(scene, over, pages))
    scraper.start()
    try:
        _send_flood(scene, releases)
        scene.heal("the flood is read", limit_s=900)
    finally:
        over.set()
        scraper.join()
    took_s, size, series = (max(column) for column in zip(*pages, strict=True))
    stalls = [json.loads(b)["loop_stall_longest_s"] for _, b in scene.pages("/healthz")]
    scene.notes.append(
        f"{len(pages)} scrapes, at most {took_s:.2f} s, {size:,} bytes, {series:,} "
        f"series; loop blocked {max(stalls):.2f} s"
    )
    scene.want(size <= PAGE_MAX_BYTES, f"a page of {size:,} bytes")
    scene.want(series <= SERIES_MAX, f"{series:,} series")


def _send_flood(scene: Scene, releases: int) -> None:
    """Each made-up service brings a hundred releases of its own, in one record."""
    producer = scene.made.producer()
    topic = scene.made.settings.topic(LOG)
    for number in range(releases // RELEASES_EACH):
        service = f"made-up-{number}"
        event = {"kind": "usage", "ts": scene.traffic.sent_until_ms, "service": service}
        events = [
            {**event, "release": f"9.{number}.{n}-{'x' * NAME_PADDING}"}
            for n in range(RELEASES_EACH)
        ]
        producer.send(topic, msgspec.json.encode(events), key=service.encode())
    producer.flush()
    producer.close()


def _scrape(
    scene: Scene, over: threading.Event, pages: list[tuple[float, int, int]]
) -> None:
    while not over.wait(0.5):
        begun_s = monotonic_s()
        for _, body in scene.pages("/metrics"):
            series = sum(not x.startswith(b"#") for x in body.splitlines())
            pages.append((monotonic_s() - begun_s, len(body), series))


def flood_after(scene: Scene) -> None:
    """The real services are judged as if nothing else had come."""
    scene.want_decisions(undisturbed(scene.plan))


def soak(scene: Scene, minutes: int) -> None:
    """Row 28: load for minutes; memory, open files and lag stay flat."""
    scene.start("w0")
    scene.ready("w0")
    scene.at_window(10)
    files = [open_files(scene)]
    end_s = monotonic_s() + minutes * 60
    while monotonic_s() < end_s:
        pause(min(10.0, max(0.1, end_s - monotonic_s())))
        files.append(open_files(scene))
    scene.heal("the load is over")
    half = len(files) // 2
    scene.notes.append(f"open files {files[half]} to {files[-1]}")
    scene.want(files[-1] <= files[half] + 2, f"open files: {files}")
    facts = [(f["t"], f["mb"]) for f in scene.history.all("memory")]
    late = [(t, mb) for t, mb in facts if t >= facts[-1][0] / 2]
    slope = float(np.polyfit(*zip(*late, strict=True), 1)[0]) * 600
    scene.notes.append(
        f"memory {late[0][1]:.0f} to {late[-1][1]:.0f} MB in the second "
        f"half: {slope:+.2f} MB in 10 min"
    )
    scene.want(slope < SLOPE_MAX_MB, f"memory grows {slope:+.2f} MB in 10 min")


def open_files(scene: Scene) -> int:
    """How many files and connections the worker holds."""
    return len(list(Path(f"/proc/{scene.running['w0'].pid}/fd").iterdir()))
