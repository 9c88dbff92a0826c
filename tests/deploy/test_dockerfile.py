"""The image holds the locked product and nothing else, and its health check is true."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

from detector.engine import Partition
from detector.rulefile import load_rules
from detector.view import partition_view
from streams.metrics import Metrics, Readings, RulesStatus
from streams.progress import Counters, LaneProgress, LaneState
from streams.readiness import Readiness
from streams.wallclock import monotonic_s, now_ms
from streams.web import Web

ROOT = Path(__file__).resolve().parents[2]
HEALTH_CHECK = ROOT / "deploy/healthcheck.py"
RULES = "version: 1\nrules: [{name: all}]\nend_of_rules: true\n"


class Step(NamedTuple):
    """One instruction of a Dockerfile."""

    word: str
    rest: str


def steps() -> list[Step]:
    """Instructions of the Dockerfile, continued lines joined, comments gone."""
    text = (ROOT / "deploy/Dockerfile").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    found = []
    for line in joined.splitlines():
        if line.strip():
            word, rest = line.split(None, 1)
            found.append(Step(word, rest))
    return found


def stages() -> list[list[Step]]:
    """Instructions by stage; what is before the first FROM is left out."""
    found: list[list[Step]] = []
    for step in steps():
        if step.word == "FROM":
            found.append([])
        if found:
            found[-1].append(step)
    return found


def only(stage: list[Step], word: str) -> str:
    """What the only instruction of this name says."""
    (rest,) = [step.rest for step in stage if step.word == word]
    return rest


def test_base_image_is_pinned() -> None:
    """One base for both stages: slim, Python and Debian release named."""
    (default,) = [step.rest for step in steps() if step.word == "ARG"]
    assert re.fullmatch(r"PYTHON_IMAGE=python:3\.12-slim-[a-z]+", default)
    assert [stage[0].rest.split()[0] for stage in stages()] == ["${PYTHON_IMAGE}"] * 2


def test_requirements_are_locked_by_hash() -> None:
    """Everything from an index is a wheel whose hash is known."""
    installs = [
        command
        for step in steps()
        if step.word == "RUN"
        for command in re.split(r"&&|;|\bdo\b", step.rest)
        if re.search(r"\bpip\b.* (install|wheel) ", command)
    ]
    assert len(installs) == 3
    for command in installs:
        if "requirements/runtime.txt" in command:
            assert "--require-hashes" in command
            assert "--only-binary :all:" in command
        else:
            assert "--no-deps" in command
            assert "--no-index" in command or "--no-build-isolation" in command


def test_final_stage_builds_nothing() -> None:
    """No package manager runs in the final stage, and pip is removed from it."""
    final = stages()[-1]
    runs = " ".join(step.rest for step in final if step.word == "RUN")
    assert not re.search(r"\b(apt|apt-get|apk|gcc|make) ", runs)
    assert "pip install" not in runs
    assert "rm -rf" in runs
    assert "site-packages/pip*" in runs
    assert "--without-pip" in " ".join(step.rest for step in stages()[0])


def test_backend_is_not_shipped() -> None:
    """What only builds the wheel is uninstalled, and nothing else."""
    build = " ".join(step.rest for step in stages()[0] if step.word == "RUN")
    removed = re.search(r"uninstall --yes ([a-z\- ]+)", build)
    assert removed is not None
    lock = (ROOT / "requirements/runtime.txt").read_text(encoding="utf-8")
    needed_by = dict(
        re.findall(r"^([a-z-]+)==(?:.|\n)*?# via((?:\n    #.*)*.*)", lock, re.M)
    )
    names = set(removed[1].split())
    assert names >= {"hatchling", "editables"}
    for name in names:
        users = set(re.findall(r"[a-z.-]*[a-z]", needed_by[name])) - {"-r"}
        assert users <= names | {"runtime.in"}, f"{name} is needed by {users}"


def test_container_is_no_root() -> None:
    """The last user is a number, as clusters can check."""
    assert only(stages()[-1], "USER") == "10001:10001"


def test_container_ends_orderly() -> None:
    """SIGTERM reaches the worker itself, no shell in between."""
    final = stages()[-1]
    assert only(final, "STOPSIGNAL") == "SIGTERM"
    assert only(final, "ENTRYPOINT") == '["hypercare"]'
    assert only(final, "CMD") == '["worker"]'


def test_health_check_is_ours() -> None:
    """The check runs a file that the image holds."""
    final = stages()[-1]
    assert "/opt/hypercare/healthcheck.py" in only(final, "HEALTHCHECK")
    copied = " ".join(step.rest for step in stages()[0] if step.word == "COPY")
    assert "deploy/healthcheck.py" in copied


def test_copied_paths_reach_context() -> None:
    """What is copied exists and .dockerignore lets it in."""
    allowed = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    for step in stages()[0]:
        if step.word == "COPY":
            for source in step.rest.split()[:-1]:
                assert (ROOT / source).exists(), source
                assert f"!{source}" in allowed, source


def test_every_package_is_built_in() -> None:
    """The wheel of the image has all packages of the project, and the rules."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    copied = {
        source
        for step in stages()[0]
        if step.word == "COPY"
        for source in step.rest.split()[:-1]
    }
    assert {*wheel["packages"], *wheel["force-include"]} <= copied


def lane(state: LaneState) -> LaneProgress:
    """A partition with everything applied and saved."""
    return LaneProgress(0, state, 1, 1, 1, 1, 0.1, 0.1, 99, 0, "the log is gone")


def server(state: LaneState) -> Web:
    """A worker's pages on a free port, for a partition in this state."""
    partition = Partition(0, load_rules(RULES, source="test"))
    readings = Readings(
        views=lambda: [partition_view(partition)],
        lanes=lambda: [lane(state)],
        counters=Counters(),
        rules=lambda: RulesStatus(1, True),
        now_ms=now_ms,
        monotonic_s=monotonic_s,
    )
    return Web(
        Metrics(readings),
        Readiness(snapshot_interval_s=2.0),
        is_member=lambda: True,
        monotonic_s=monotonic_s,
        host="0.0.0.0",
        port=0,
    )


async def check(state: LaneState) -> tuple[int, str]:
    """Exit code and words of the health check beside a worker in this state."""
    web = server(state)
    await web.start()
    try:
        return await asyncio.to_thread(run_check, web.port)
    finally:
        await web.stop()


def run_check(port: int) -> tuple[int, str]:
    """Run the check as the engine does."""
    environment = {"HYPERCARE_WEB_HOST": "0.0.0.0", "HYPERCARE_WEB_PORT": str(port)}
    done = subprocess.run(
        [sys.executable, HEALTH_CHECK],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


async def test_ready_worker_is_healthy() -> None:
    """The check of a ready worker is silent and passes."""
    assert await check(LaneState.READY) == (0, "")


async def test_blind_worker_is_unhealthy() -> None:
    """The check of a worker that can not start a partition says which, and fails."""
    code, said = await check(LaneState.BLIND)
    assert code == 1
    assert "the log is gone" in said


def test_absent_worker_is_unhealthy() -> None:
    """Where nobody listens the check fails and names the address."""
    code, said = run_check(1)
    assert code == 1
    assert "127.0.0.1:1" in said
