"""Ask whether the locked packages have known vulnerabilities; say so if nobody answers.

Usage: python tools/audit_locks.py [LOCK ...]    (default: all that is ever installed)

Exit codes: 0 every package was asked about and none is known to be vulnerable,
2 a lock can not be read, 3 a vulnerability is known, 30 for some package nobody
answered. pip-audit itself ends with 0 and "no known vulnerabilities" where the index
knows nothing of vulnerabilities (mirrors answer 404), so its report is read here
instead of believed.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ("bench", "java", "supply")
"""The worker's, the demonstration's and the developers' are parts of the first."""

TIMEOUT_S = 15
LIMIT_S = 600

DONE = 0
WRONG = 2
FOUND = 3
UNREACHABLE = 30


@dataclass
class Answer:
    """What the service said: packages asked about, unanswered, and vulnerable."""

    asked: set[str] = field(default_factory=set)
    silent: set[str] = field(default_factory=set)
    vulnerable: set[str] = field(default_factory=set)
    problem: str = ""

    def add(self, lock: str, report: Mapping[str, Any]) -> None:
        """Take over the report about one lock."""
        for package in report["dependencies"]:
            name = package["name"]
            self.asked.add(name)
            if "skip_reason" in package:
                self.silent.add(name)
            for one in package.get("vulns", ()):
                fixed = ", ".join(one["fix_versions"]) or "no version yet"
                self.vulnerable.add(
                    f"{lock}: {name} {package['version']}: {one['id']}, "
                    f"fixed in {fixed}"
                )


def ask(lock: Path) -> tuple[Mapping[str, Any] | None, str]:
    """Return pip-audit's report about a lock, or None and why there is none."""
    command = [
        *(sys.executable, "-m", "pip_audit", "--disable-pip", "--require-hashes"),
        *("--progress-spinner", "off", "--format", "json"),
        *("--timeout", str(TIMEOUT_S), "--requirement", str(lock)),
    ]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=LIMIT_S
        )
    except subprocess.TimeoutExpired:
        return None, f"no answer within {LIMIT_S} s"
    try:
        report = json.loads(done.stdout)
    except json.JSONDecodeError:
        return None, (done.stderr.strip().splitlines() or ["no report"])[-1]
    return report, ""


def judge(answer: Answer) -> tuple[int, str]:
    """Return the exit code and the sentence for it; a finding outweighs silence."""
    if answer.vulnerable:
        listed = "\n".join(sorted(answer.vulnerable))
        return FOUND, (
            f"{listed}\naudit: known vulnerabilities: raise the version in "
            "requirements/*.in, run `make lock`"
        )
    if answer.problem or answer.silent or not answer.asked:
        return UNREACHABLE, f"audit: NOT AUDITED: {_silence(answer)}"
    return DONE, f"audit: {len(answer.asked)} packages, no known vulnerability"


def _silence(answer: Answer) -> str:
    if answer.problem:
        return f"the vulnerability service does not answer ({answer.problem})"
    names = ", ".join(sorted(answer.silent)[:5])
    return (
        f"the vulnerability service says nothing about {len(answer.silent)} of "
        f"{len(answer.asked)} packages ({names}, ...): run it where PyPI itself, "
        "not a mirror of its files, is reached"
    )


def main(arguments: Sequence[str]) -> int:
    """Audit the locks and print one sentence, or one line per finding."""
    locks = [Path(one) for one in arguments]
    locks = locks or [ROOT / "requirements" / f"{name}.txt" for name in LOCKS]
    missing = [str(lock) for lock in locks if not lock.is_file()]
    if missing:
        print(f"audit: no such lock: {', '.join(missing)}: `make lock` writes them")
        return WRONG
    answer = Answer()
    for lock in locks:
        report, problem = ask(lock)
        if report is None:
            answer.problem = problem
        else:
            answer.add(lock.name, report)
    code, sentence = judge(answer)
    print(sentence, file=sys.stderr if code else sys.stdout)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
