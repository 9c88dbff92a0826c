"""Rows about Kafka: nodes that stop, die or freeze, all of them, and the way there."""

from __future__ import annotations

from streams.wallclock import monotonic_s
from tests.faults.proxy import Mode, Proxy
from tests.faults.scene import Scene
from tests.faults.traffic import seeded
from tests.integration.detecting import pause
from tests.integration.support import until

KINDS = ("SIGSTOP", "SIGKILL", "SIGTERM")
FROZEN_S = 45.0
DOWN_S = 10.0
CUTS_S = (5.0, 30.0, 120.0)
"""How long the way to Kafka is cut, one after the other."""


def lose_node(scene: Scene, times: int) -> None:
    """Row 4: one of three nodes is told to end, killed, frozen; and comes back."""
    chance = seeded(scene.plan.seed, "nodes")
    kafka = scene.kafka
    scene.is_supervised = True
    scene.start("w0")
    scene.start("w1")
    scene.ready_together(["w0", "w1"])
    scene.at_window(30)
    for number in range(times):
        kind, node = KINDS[number % len(KINDS)], chance.choice([1, 2, 3])
        scene.history.note("fault", kind=kind, node=node)
        if kind == "SIGSTOP":
            kafka.pause(node)
            scene.heal_meanwhile(f"node {node} is frozen", FROZEN_S)
            kafka.resume(node)
        else:
            kafka.kill(node) if kind == "SIGKILL" else kafka.stop(node)
            scene.heal_meanwhile(f"node {node} is gone", DOWN_S)
            kafka.start(node=node)
        scene.heal(f"node {node} is back after {kind}")
    scene.want(len(scene.restarts) <= 2 * times, "workers end again and again")


def lose_all(scene: Scene, seconds: int) -> None:
    """Row 5: all nodes killed; workers stay, say so, and go on by themselves."""
    kafka = scene.kafka
    scene.start("w0")
    scene.ready("w0")
    scene.at_window(30)
    scene.history.note("fault", kind="all nodes killed")
    for node in range(1, kafka.nodes + 1):
        kafka.kill(node)
    begun_s = monotonic_s()
    until(
        lambda: [status for status, _ in scene.pages("/readyz")] == [503],
        what="the worker says that it is not ready",
    )
    scene.notes.append(f"not ready {monotonic_s() - begun_s:.1f} s after the loss")
    before_mb = scene.peak_mb()
    pause(max(0.0, seconds - (monotonic_s() - begun_s)))
    answers = [status for status, _ in scene.pages("/readyz")]
    scene.notes.append(f"{scene.peak_mb() - before_mb:+.0f} MB while they were away")
    scene.want(scene.peak_mb() - before_mb < 32, "memory grew while nothing came")
    scene.want(answers == [503], f"readiness says {answers} while all are away")
    kafka.start()
    scene.heal("all nodes are back")
    scene.want("w0" in scene.running, "the worker has ended")
    scene.want("Traceback" not in scene.made.said("w0"), "a traceback was logged")


def cut_off(scene: Scene, times: int) -> None:
    """Row 8: the way to the broker is cut, swallows everything, or only answers."""
    (listener,) = scene.kafka.extras.listeners
    assert listener.advertised_port is not None
    modes = (Mode.CUT, Mode.BLACK_HOLE, Mode.DEAF)
    proxy = scene.stack.enter_context(Proxy(listener.advertised_port, listener.port))
    there = {"HYPERCARE_KAFKA": f"127.0.0.1:{proxy.port}"}
    scene.made.everywhere = there
    scene.is_supervised = True
    scene.start("w0")
    scene.ready("w0")
    scene.at_window(30)
    for number in range(times):
        mode = modes[number % len(modes)]
        seconds = CUTS_S[number // len(modes) % len(CUTS_S)]
        scene.history.note("fault", kind=mode.value, seconds=seconds)
        proxy.be(mode)
        pause(seconds)
        proxy.be(Mode.PASS)
        scene.heal(f"{mode.value} of {seconds:g} s is over")
    scene.want(len(scene.restarts) <= times, "the worker ends again and again")
