"""Rows about workers: killed, told to end, replaced, stopped and woken."""

from __future__ import annotations

import signal

from streams.halt import Exit
from tests.faults.scene import PORT, STOP_MAX_S, Scene
from tests.faults.traffic import seeded
from tests.faults.worker import POINTS
from tests.integration.detecting import pause
from tests.integration.support import until

BETWEEN = (20, 80)
"""Windows between two faults: at least, and less than."""

STORM_STEP_S = 2
WORKERS_MAX = 4


def kill_worker(scene: Scene, kills: int) -> None:
    """Row 1: kill -9 at seeded points, a successor each time."""
    chance = seeded(scene.plan.seed, "kills")
    scene.start("w0")
    scene.ready("w0")
    for number in range(kills):
        scene.at_window(scene.traffic.window + chance.randrange(*BETWEEN))
        pause(chance.random() * scene.plan.pace_s)
        scene.hit(f"w{number}", signal.SIGKILL)
        heir = f"w{number + 1}"
        scene.start(heir)
        scene.ready(heir)
        scene.heal("the heir has the partitions")


def stop_worker(scene: Scene, stops: int) -> None:
    """Row 2: SIGTERM under load; exit 0 in time, nothing read again."""
    scene.start("w0")
    scene.ready("w0")
    for number in range(stops):
        scene.at_window(scene.traffic.window + BETWEEN[0])
        name, heir = f"w{number}", f"w{number + 1}"
        scene.hit(name, signal.SIGTERM)
        code = scene.gone(name)
        if code != Exit.STOPPED:
            scene.problems.append(f"{name} ended with {code}, wanted {Exit.STOPPED}")
        scene.start(heir)
        scene.ready(heir)
        scene.heal("the heir has the partitions")


def die_at_points(scene: Scene, times: int) -> None:
    """Row 3: death between state, recommendation and mark; an heir each time."""
    scene.made.program = ("tests.faults.worker",)
    once = scene.made.folder / "once"
    for number in range(times * len(POINTS)):
        name, point = f"w{number}", POINTS[number % len(POINTS)]
        once.touch()
        scene.start(name, {"FAULT_POINT": point, "FAULT_ONCE": str(once)})
        scene.ready(name)
        until(
            lambda name=name: scene.running[name].poll() is not None,  # type: ignore[misc]
            what=f"{name} has died {point}",
            limit_s=120,
        )
        scene.history.note("fault", kind=point, worker=name)
        scene.gone(name)
        scene.notes.append(f"died {point}")
    scene.start("last")
    scene.ready("last")


def storm(scene: Scene, seconds: int) -> None:
    """Row 6: one to four workers, one joins or leaves every two seconds."""
    chance = seeded(scene.plan.seed, "storm")
    scene.start("w0")
    scene.ready("w0")
    number, leaving = 1, []
    for _ in range(seconds // STORM_STEP_S):
        pause(STORM_STEP_S)
        guests = [name for name in scene.running if name not in leaving]
        if len(guests) < WORKERS_MAX and (len(guests) == 1 or chance.random() < 0.5):
            scene.start(f"w{number}")
            number += 1
        else:
            name = chance.choice(guests)
            scene.hit(name, signal.SIGTERM)
            leaving.append(name)
    for name in leaving:
        code = scene.gone(name, limit_s=STOP_MAX_S)
        # One that is told to leave while Python still starts can not answer.
        began = PORT.search(scene.made.said(name)) is not None
        wanted = Exit.STOPPED if began else -signal.SIGTERM
        scene.want(code == wanted, f"{name} ended with {code}, wanted {wanted}")
    if not scene.running:
        scene.start("last")
    scene.heal("the last one has joined")
    scene.notes.append(f"{number} workers came, {len(leaving)} were told to leave")


def zombie(scene: Scene, times: int) -> None:
    """Row 7: a worker stopped beyond its session wakes up behind its heir."""
    scene.start("w0")
    scene.ready("w0")
    for number in range(times):
        name, heir = f"w{number}", f"w{number + 1}"
        scene.at_window(scene.traffic.window + BETWEEN[0])
        scene.hit(name, signal.SIGSTOP)
        scene.start(heir)
        scene.ready(heir)
        scene.heal("the heir has the partitions")
        scene.hit(name, signal.SIGCONT)
        code = scene.gone(name, limit_s=30)
        scene.want(code == Exit.FENCED, f"{name} ended with {code}, not as fenced")
