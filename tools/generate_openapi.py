"""Write docs/openapi.json from the gates' table of routes; with --check only compare.

Usage: python tools/generate_openapi.py [--check]
Exit code 1 with --check when the file differs from what the table says.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from streams.gate.openapi import rendered  # noqa: E402
from streams.gate.table import ROUTES  # noqa: E402

PAGE = ROOT / "docs" / "openapi.json"


def main(arguments: list[str]) -> int:
    """Write the file, or compare it; give the exit code."""
    if arguments not in ([], ["--check"]):
        print(__doc__, file=sys.stderr)
        return 2
    text = rendered(ROUTES)
    if PAGE.exists() and PAGE.read_bytes() == text:
        return 0
    if arguments:
        print("out of date: docs/openapi.json; run python tools/generate_openapi.py")
        return 1
    PAGE.write_bytes(text)
    print("wrote docs/openapi.json")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
