"""Write the generated pages of docs/; with --check, fail where one is stale."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from detector import eventdocs  # noqa: E402  (the tree itself is the package)

PAGES = {
    "docs/events.md": eventdocs.markdown,
    "docs/events.schema.json": eventdocs.schema,
}


def main() -> int:
    """Write every page that differs, or with --check only name them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing")
    only_check = parser.parse_args().check
    stale = []
    for name, generate in PAGES.items():
        path, text = ROOT / name, generate()
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(name)
        if not only_check:
            path.write_text(text, encoding="utf-8")
            sys.stdout.write(f"wrote {name}\n")
    if only_check and stale:
        sys.stderr.write(
            f"stale: {', '.join(stale)}; run: python tools/generate_docs.py\n"
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
