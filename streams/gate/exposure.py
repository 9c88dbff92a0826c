"""What must hold before the gates listen where others reach them."""

from __future__ import annotations

from streams.errors import Refused
from streams.hosts import is_loopback


def check_exposure(
    host: str, *, has_tokens: bool, has_tls: bool, is_plain_allowed: bool
) -> None:
    """Refuse to listen beyond this machine without tokens, or with tokens in the clear.

    Raises
    ------
    Refused
        With what to set.
    """
    if is_loopback(host):
        return
    if not has_tokens:
        raise Refused(
            f"{host} is reached by others and nobody would be asked who they are: set "
            "HYPERCARE_GATES_TOKENS, or HYPERCARE_GATES_HOST to 127.0.0.1"
        )
    if not has_tls and not is_plain_allowed:
        raise Refused(
            f"{host} is reached by others and tokens would go in the clear: set "
            "HYPERCARE_GATES_TLS_CERT and _KEY, or HYPERCARE_GATES_PLAIN=1 where a "
            "proxy in front speaks TLS"
        )
