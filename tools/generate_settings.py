"""Write docs/settings.md from the tables of variables; with --check only compare.

Usage: python tools/generate_settings.py [--check]
Exit code 1 with --check when the page differs from what the tables say.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from streams.connection import PREFIX as KAFKA_PREFIX  # noqa: E402
from streams.connectionvars import CONNECTION_VARIABLES  # noqa: E402
from streams.kafka_local import DEFAULT_PORT, DEFAULT_VERSION  # noqa: E402
from streams.settings import PREFIX, VARIABLES, Settings  # noqa: E402

PAGE = ROOT / "docs" / "settings.md"

INTRODUCTION = """\
# Settings

Written by `tools/generate_settings.py` from the tables in `streams/settings.py` and
`streams/connectionvars.py`; change those. A value is checked at the start, all
problems are named at once, and an unknown name that looks like one of these is refused
with the name that was probably meant. An empty value counts as not set.

What decides verdicts is not here but in the [rule file](rules.md).
"""

DERIVED = {"worker": "host and process id", "rules": "the shipped rules"}
"""Defaults that are no fixed text."""

IDENTITY = {
    "IDENTITY_KEY": "secret that users and sessions are hashed with, 16 bytes or more; "
    "the same on every worker. Make one with `openssl rand -hex 32`",
    "IDENTITY_KEY_FILE": "the same, from a file; keep one of the two",
}

LOCAL = {
    "LOG_LEVEL": ("info", "what `hypercare worker` logs: debug, info, warning, error"),
    "KAFKA_PORT": (
        str(DEFAULT_PORT),
        "port of `hypercare kafka` and `demo`",
    ),
    "KAFKA_DIR": ("~/.local/state/hypercare/kafka", "data of `hypercare kafka`"),
    "KAFKA_VERSION": (DEFAULT_VERSION, "which Apache Kafka `hypercare kafka` starts"),
    "JAVA": ("found by itself", "the java of the local Kafka, 17 or newer"),
    "MAVEN_MIRROR": ("Maven Central", "where its jars are fetched, http(s) address"),
    "MAVEN_CACHE": ("~/.cache/hypercare", "folder that keeps its jars"),
}
"""Read by the command line and the local Kafka: no setting of a worker."""


def rows(found: Iterable[tuple[str, str, str]]) -> str:
    """Return a table of variables."""
    head = "| variable | default | meaning |\n|---|---|---|\n"
    return head + "".join(f"| `{n}` | {d} | {m} |\n" for n, d, m in found)


def default_of(field: str) -> str:
    """Return the default of a field as a person would set it."""
    if field in DERIVED:
        return DERIVED[field]
    value = getattr(Settings(), field)
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float):
        return f"{value:g}"
    return str(value) if value not in ((), None, "") else "none"


def page() -> str:
    """Return the whole page."""
    worker = rows(
        (PREFIX + one.name, default_of(field), one.help)
        for field, one in VARIABLES.items()
    )
    identity = rows((PREFIX + n, "none", m) for n, m in IDENTITY.items())
    defaults = {"SECURITY": "PLAINTEXT", "COMPRESSION": "gzip"}
    kafka = rows(
        (KAFKA_PREFIX + n, defaults.get(n, "none"), m)
        for n, m in CONNECTION_VARIABLES.items()
    )
    local = rows((PREFIX + n, d, m) for n, (d, m) in LOCAL.items())
    return (
        f"{INTRODUCTION}\n## Worker\n\n{worker}"
        f"\n## Identities\n\n{identity}\n"
        "Without a key a worker does not start, unless `HYPERCARE_DEMO=1` asks for a\n"
        "random one. What the key protects: [security](security.md#identities).\n"
        f"\n## Connection to Kafka\n\n{kafka}\n"
        "A secret stands in a variable or in the file that the variable ending in\n"
        "`_FILE` names, never in both. What would be ignored is refused.\n"
        f"\n## Command line and local Kafka\n\n{local}"
    )


def main(arguments: list[str]) -> int:
    """Write the page, or compare it; give the exit code."""
    if arguments not in ([], ["--check"]):
        print(__doc__, file=sys.stderr)
        return 2
    text = page()
    if PAGE.exists() and PAGE.read_text(encoding="utf-8") == text:
        return 0
    if arguments:
        print("out of date: docs/settings.md; run python tools/generate_settings.py")
        return 1
    PAGE.write_text(text, encoding="utf-8")
    print("wrote docs/settings.md")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
