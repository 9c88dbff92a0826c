"""What a release said it would fix: is it gone?"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

from detector.lineage import Fixed, fates
from detector.releases import Release
from detector.scope import Scope
from detector.verdicts import FixedSignature

LOOK_EVERY_MS = 60_000
"""Fates are read anew this often: they move with hours, not with windows."""

RATIO_LIMIT = 1e9
"""Stands for "no upper limit" where infinity can not be written."""


def fixed_of(scope: Scope, release: Release) -> list[Fixed]:
    """What became of each signature that a release claims to fix.

    Each is compared with the earlier release that showed it most: the way back to a
    release that never had it must not make the fix look needless.
    """
    found: list[Fixed] = []
    for name in release.fixes:
        earlier = _showed_most(scope, release, name)
        found += fates(scope.catalogue, release.number, earlier, (name,))
    return found


def still_there(scope: Scope, release: Release) -> tuple[str, ...]:
    """Signatures that a release claims to fix and has not fixed."""
    fixed = fixed_of(scope, release)
    return tuple(f.signature for f in fixed if f.fate == "still_there")


def shown(fixed: Sequence[Fixed]) -> tuple[FixedSignature, ...]:
    """The same as a record carries it."""
    return tuple(
        FixedSignature(
            signature=f.signature,
            fate=f.fate,
            before=_short(f.before),
            after=_short(f.after),
            ratio=(_short(f.ratio[0]), _short(f.ratio[1], 1.0), _short(f.ratio[2])),
            units_needed=_short(f.units_needed),
        )
        for f in fixed
    )


def _showed_most(scope: Scope, release: Release, name: str) -> frozenset[int]:
    entry = scope.catalogue.entries.get(scope.catalogue.numbers.get(name, -1))
    if entry is None:
        return frozenset()
    counts = [
        (count, number)
        for number, count in entry.counts.items()
        if number != release.number and count > 0
    ]
    return frozenset({max(counts)[1]}) if counts else frozenset()


def _short(value: float, otherwise: float = RATIO_LIMIT) -> float:
    return float(f"{value:.6g}") if isfinite(value) else otherwise
