"""Keys and tokens of the compose file, made once and kept in its volumes.

Without arguments: what is not there yet. With NAME and SCOPE: one more token for the
gates, shown once. Who signs has the private key, who checks the public one, Prometheus
a token that may only read.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from streams.gate.access import NAME, Scope, digest_of, new_token
from streams.signing import new_key

SCRAPER = "prometheus"


def written(path: Path, text: bytes, mode: int) -> None:
    """Write a file whole, or not at all."""
    made = path.with_suffix(".new")
    made.unlink(missing_ok=True)
    handle = os.open(made, os.O_WRONLY | os.O_CREAT, mode)
    with os.fdopen(handle, "wb") as file:
        file.write(text)
    made.rename(path)


def token(folder: Path, name: str, scope: Scope) -> str:
    """Make a token and add its line to the token file; return it."""
    path, made = folder / "checks" / "gates.tokens", new_token()
    lines = path.read_text(encoding="utf-8") if path.exists() else ""
    line = f"{name} {scope} {digest_of(made).hex()}\n"
    written(path, (lines + line).encode(), 0o600)
    return made


def prepare(folder: Path) -> None:
    """Make what is missing."""
    public, private = (
        folder / "checks" / "workers.pub",
        folder / "signs" / "workers.key",
    )
    if not (public.exists() and private.exists()):
        secret, known = new_key()
        written(private, secret, 0o600)
        written(public, known, 0o644)
    scraper = folder / "scrapes" / "gates.token"
    if not scraper.exists():
        # Prometheus is another user in another container.
        written(scraper, token(folder, SCRAPER, Scope.READ).encode(), 0o644)


def main(folder: Path, words: list[str]) -> int:
    """Do what the words say; exit code 2 if they say nothing known."""
    if not words:
        prepare(folder)
        return 0
    scopes = [one.value for one in Scope]
    if len(words) != 2 or not NAME.fullmatch(words[0]) or words[1] not in scopes:
        print(f"usage: keys [NAME {'|'.join(scopes)}]", file=sys.stderr)
        return 2
    print(token(folder, words[0], Scope(words[1])))
    return 0


if __name__ == "__main__":
    sys.exit(main(Path("/var/lib/hypercare"), sys.argv[1:]))
