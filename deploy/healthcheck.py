"""Is the program in this container ready? Exit code 0 or 1, and why not.

Needs only Python, so that a health check costs no import of the product. It asks
where ``HYPERCARE_WEB_HOST`` and ``HYPERCARE_WEB_PORT`` say that the worker listens, or
on the port that is its argument, for gates and act.
"""

from __future__ import annotations

import http.client
import json
import os
import sys

TIMEOUT_S = 4.0
EVERYWHERE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104
"""Addresses to listen on that are none to connect to."""


def problems(host: str, port: int) -> list[str]:
    """What the program says is wrong with it; empty when it is ready."""
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        body = json.loads(answer.read())
    except (OSError, http.client.HTTPException, ValueError) as error:
        return [f"nobody answers at {host}:{port}: {error!r}"]
    finally:
        connection.close()
    if answer.status == 200:
        return []
    named = body.get("problems") if isinstance(body, dict) else None
    return [json.dumps(one) for one in named or [body]]


def main() -> int:
    """Print what is wrong; the exit code is what a health check wants."""
    host = os.environ.get("HYPERCARE_WEB_HOST", "")
    port = int((sys.argv[1:] or [os.environ.get("HYPERCARE_WEB_PORT") or 9108])[0])
    found = problems(EVERYWHERE.get(host, host), port)
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
