"""The audit: what counts as an answer, and that silence is never taken for one."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / "tools" / "audit_locks.py"


@pytest.fixture(scope="module")
def audit() -> ModuleType:
    """The tool as a module."""
    spec = importlib.util.spec_from_file_location("audit_locks", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def package(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "version": "1.0", "vulns": [], **more}


VULNERABLE = package("bad", vulns=[{"id": "PYSEC-1", "fix_versions": ["1.1"]}])
SKIPPED = {"name": "quiet", "skip_reason": "Dependency not found"}


@pytest.mark.parametrize(
    ("found", "code", "words"),
    [
        ([package("good")], 0, "1 packages, no known vulnerability"),
        ([package("good"), VULNERABLE], 3, "dev.txt: bad 1.0: PYSEC-1, fixed in 1.1"),
        ([package("good"), SKIPPED], 30, "NOT AUDITED"),
        ([SKIPPED], 30, "1 of 1 packages (quiet"),
        ([VULNERABLE, SKIPPED], 3, "PYSEC-1"),
        ([], 30, "NOT AUDITED"),
    ],
)
def test_report_decides_the_code(
    audit: ModuleType, found: list[dict[str, Any]], code: int, words: str
) -> None:
    """A finding outweighs silence, and one silent package is not an audit."""
    answer = audit.Answer()
    answer.add("dev.txt", {"dependencies": found})
    assert code == audit.judge(answer)[0]
    assert words in audit.judge(answer)[1]


def test_missing_lock_is_named(audit: ModuleType) -> None:
    """A lock that is not there is a wrong request, not a clean audit."""
    assert audit.WRONG == audit.main(["nowhere.txt"])


def test_default_locks_cover_everything(audit: ModuleType) -> None:
    """Every package of any lock is in one of those that are audited."""

    def names(lock: str) -> set[str]:
        text = (ROOT / "requirements" / f"{lock}.txt").read_text(encoding="utf-8")
        return {x.split("==")[0] for x in text.splitlines() if x[:1].isalnum()}

    every = {path.stem for path in (ROOT / "requirements").glob("*.txt")}
    audited = set.union(*(names(lock) for lock in audit.LOCKS))
    assert set.union(*(names(lock) for lock in every)) <= audited
