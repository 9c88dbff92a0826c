"""What a rollback that is being judged looks like from outside."""

from __future__ import annotations

from collections.abc import Container, Iterable

from msgspec import Struct

from detector.scope import Scope

SHOWN_MS = 3_600_000
"""What came of a rollback is news for an hour."""


class RollbackView(Struct, frozen=True):
    """What came of taking a release back: waiting, helped, did_not_help, unverified.

    ``severity`` is page or ticket, as for the recommendation that it followed.
    """

    service: str
    environment: str
    release: str
    outcome: str
    severity: str


def rollback_views(
    scopes: Iterable[Scope], arrival_ms: int, paging: Container[str]
) -> list[RollbackView]:
    """Ways back that are being judged, or were within the last hour.

    ``paging`` are the criticalities that wake somebody.
    """
    found = []
    for scope in scopes:
        now_ms = max(scope.watermark_ms, arrival_ms)
        for one in scope.aftermaths.values():
            release = scope.registry.releases.get(one.release)
            if release is None or 0 <= one.done_ms < now_ms - SHOWN_MS:
                continue
            severity = "page" if release.criticality in paging else "ticket"
            place = (scope.service, scope.environment, one.release)
            found.append(RollbackView(*place, one.outcome, severity))
    return found
