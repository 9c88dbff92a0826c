"""May one go back? A program of the user's says so: a migrated schema bars the way."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

from acting.answers import Answer, Ruling, Why
from detector.verdicts import NEEDS_TARGET, RecommendationRecord
from streams.gate.carrying import environment_for

LIMIT_S = 10.0
"""Longer than a look at a table of migrations takes; who asks waits meanwhile."""

SAID_CHARS = 300

MayReturn = Callable[[RecommendationRecord], Ruling | None]


def anywhere(_: RecommendationRecord) -> None:
    """Nobody was named who could object."""


def returning(program: Path | None, limit_s: float = LIMIT_S) -> MayReturn:
    """Ask a program before anything is claimed that leads back to another release.

    It finds what ``hypercare gate`` tells a command, apart from the token, and ends
    with 0 where the target is safe. Anything else, no end among it, is a no.
    """
    if program is None:
        return anywhere

    def ask(wanted: RecommendationRecord) -> Ruling | None:
        if wanted.action not in NEEDS_TARGET or not wanted.target or wanted.test:
            return None
        said = _refusal(program, environment_for(wanted, ""), limit_s)
        if said is None:
            return None
        text = f"{wanted.target} is not safe to return to ({said}): page a person"
        return Ruling(Answer.NEEDS_APPROVAL, Why.NOT_SAFE, text)

    return ask


def _refusal(program: Path, known: dict[str, str], limit_s: float) -> str | None:
    try:
        done = subprocess.run(
            [str(program)],
            env=known,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=limit_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"{program.name} did not answer within {limit_s:g} s"
    except OSError as error:
        return f"{program.name} could not run: {error.strerror}"
    if done.returncode == 0:
        return None
    lines = done.stdout.decode(errors="replace").split("\n")
    first = "".join(c for c in lines[0] if c.isprintable())[:SAID_CHARS]
    return first or f"{program.name} ended with {done.returncode}"
