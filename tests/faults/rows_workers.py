"""Rows about workers: killed, told to end, replaced, stopped and woken."""

from __future__ import annotations

import signal

from streams.halt import Exit
from tests.faults.scene import Scene
from tests.faults.traffic import seeded


def kill_worker(scene: Scene, kills: int) -> None:
    """Row 1: kill -9 at seeded points, a successor each time."""
    chance = seeded(scene.plan.seed, "kills")
    windows = scene.plan.windows
    span = windows - 2 * (windows // 10)
    points = sorted(windows // 10 + chance.randrange(span) for _ in range(kills))
    scene.start("w0")
    scene.ready("w0")
    for number, point in enumerate(points):
        scene.at_window(point)
        scene.hit(f"w{number}", signal.SIGKILL)
        heir = f"w{number + 1}"
        scene.start(heir)
        scene.ready(heir)
        scene.heal("the heir has the partitions")


def stop_worker(scene: Scene, stops: int) -> None:
    """Row 2: SIGTERM under load; exit 0 in time, nothing read again."""
    scene.start("w0")
    scene.ready("w0")
    step = scene.plan.windows // (stops + 2)
    for number in range(stops):
        scene.at_window(step * (number + 1))
        name, heir = f"w{number}", f"w{number + 1}"
        scene.hit(name, signal.SIGTERM)
        code = scene.gone(name)
        if code != Exit.STOPPED:
            scene.problems.append(f"{name} ended with {code}, wanted {Exit.STOPPED}")
        scene.start(heir)
        scene.ready(heir)
        scene.heal("the heir has the partitions")
