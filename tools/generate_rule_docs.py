"""Write the JSON schemas and the reference page of rules, or check that they are new.

Usage: python tools/generate_rule_docs.py [--check]
Exit code 1 with --check when a file differs from what the model says.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from detector.rulefile.reference import reference_page, rules_schema  # noqa: E402
from detector.ruletest import schema_of_tests  # noqa: E402

TARGETS = {
    "rules/rules.schema.json": rules_schema,
    "rules/tests.schema.json": schema_of_tests,
    "docs/rules.md": reference_page,
}


def main(arguments: list[str]) -> int:
    """Write or compare every target; give the exit code."""
    if arguments not in ([], ["--check"]):
        print(__doc__, file=sys.stderr)
        return 2
    stale = []
    for name, make in TARGETS.items():
        path, text = ROOT / name, make()
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(name)
        if not arguments:
            path.write_text(text, encoding="utf-8")
            print(f"wrote {name}")
    if stale and arguments:
        listed = ", ".join(stale)
        print(f"out of date: {listed}; run python tools/generate_rule_docs.py")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
