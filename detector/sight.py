"""What a signal may look at when a window has closed, and nothing else."""

from __future__ import annotations

from typing import Any, NamedTuple

from detector.releases import Release
from detector.rulefile import Rule
from detector.scope import Scope, Watch
from detector.signals.census import Aside
from detector.windows import OpenWindow


class Sight(NamedTuple):
    """One release under watch after one closed window.

    ``aside`` are the signatures that do not count as this release's failures.
    ``cache`` holds derived values only: it may be empty at any time, and what is
    read from it must be what would be computed anew.
    """

    scope: Scope
    watch: Watch
    release: Release
    rule: Rule
    now_ms: int
    window: OpenWindow
    aside: Aside
    cache: dict[Any, Any]
