"""One service in one environment as a combiner knows it: windows, clocks, cells."""

from __future__ import annotations

from msgspec import Struct, field

from detector.combiner.cells import Cell, CellKey
from detector.releases import OTHER_RELEASE
from detector.scope import ScopeKey
from detector.signals.telemetry import Health

WIDTH_MS = 10_000
"""Windows of aggregates. Wider ones would widen every comparison of the service."""

GRACE_MS = 5_000
"""A window is sent this long after its end. What comes later follows as another part
of it, which the core takes or not by its own grace."""

CELLS_MAX = 4_096
FRESH_MAX = 512
"""Cells of one window, and how many of them may be of releases that were not there
before: made-up releases must not take the places of real ones."""

KNOWN_MAX = 64
KNOWN_FADE = 0.9
WINDOWS_MAX = 64
HEALTH_MAX = 256

OTHER_SIGNATURE = "other signatures"


PARTS_KEPT_MS = 3_600_000
"""Events that are later than this are passed on one by one."""


class Window(Struct, array_like=True):
    """What is counted of a window and has not been sent."""

    part: int = 0
    fresh: int = 0
    cells: dict[CellKey, Cell] = field(default_factory=dict)


class Scope(Struct):
    """State of one service in one environment.

    ``sent_ms`` is up to when everything was sent; ``known`` are the releases with the
    most usage of late, ``parts`` how many parts of a window have been sent.
    """

    service: str
    environment: str
    watermark_ms: int = -1
    sent_ms: int = -1
    last_ms: int = -1
    windows: dict[int, Window] = field(default_factory=dict)
    parts: dict[int, int] = field(default_factory=dict)
    known: dict[str, float] = field(default_factory=dict)
    health: dict[str, Health] = field(default_factory=dict)

    @property
    def key(self) -> ScopeKey:
        """Name of the scope."""
        return ScopeKey(self.service, self.environment)

    def limit_ms(self, watermark_ms: int) -> int:
        """End of the last window that is sent once time has come this far."""
        return (watermark_ms - GRACE_MS) // WIDTH_MS * WIDTH_MS

    def health_of(self, release: str) -> Health:
        """What is known of a release's clocks; of too many releases, nothing."""
        found = self.health.get(release)
        if found is None:
            found = Health()
            if len(self.health) < HEALTH_MAX:
                self.health[release] = found
        return found

    def window(self, start_ms: int) -> Window | None:
        """The window that begins then; None if it is too old, or one too many."""
        found = self.windows.get(start_ms)
        is_old = start_ms < self.sent_ms - PARTS_KEPT_MS
        if found is None and not is_old and len(self.windows) < WINDOWS_MAX:
            found = self.windows[start_ms] = Window(self.parts.get(start_ms, 0))
        return found

    def admit(self, window: Window, key: CellKey) -> tuple[Cell, bool]:
        """The cell of a key, and whether the key had to be cut to find room."""
        found = window.cells.get(key)
        if found is not None:
            return found, False
        is_known = not self.known or key.release in self.known
        if len(window.cells) < CELLS_MAX and (is_known or window.fresh < FRESH_MAX):
            window.fresh += not is_known
            cell = window.cells[key] = Cell()
            return cell, False
        cut = CellKey(
            release=key.release if key.release in self.known else OTHER_RELEASE,
            is_usage=key.is_usage,
            word=key.word,
            signature=OTHER_SIGNATURE if key.signature else "",
            sample_rate=key.sample_rate,
            synthetic=key.synthetic,
        )
        return window.cells.setdefault(cut, Cell()), True

    def close(self, start_ms: int) -> Window:
        """Take out a window; what comes for it later is another part."""
        window = self.windows.pop(start_ms)
        self.parts[start_ms] = window.part + 1
        self._note_releases(window)
        return window

    def _note_releases(self, window: Window) -> None:
        scores = {name: score * KNOWN_FADE for name, score in self.known.items()}
        for key, cell in window.cells.items():
            if key.is_usage and key.release != OTHER_RELEASE:
                scores[key.release] = scores.get(key.release, 0.0) + cell.count
        best = sorted(scores, key=lambda name: (-scores[name], name))[:KNOWN_MAX]
        self.known = {name: scores[name] for name in sorted(best)}

    def forget(self, now_ms: int) -> None:
        """Drop what was needed for windows and releases long gone."""
        since_ms = self.sent_ms - PARTS_KEPT_MS
        self.parts = {t: n for t, n in self.parts.items() if t >= since_ms}
        if len(self.health) >= HEALTH_MAX:
            since_ms = now_ms - PARTS_KEPT_MS
            self.health = {
                name: health
                for name, health in self.health.items()
                if name in self.known or health.sampled_arrival_ms >= since_ms
            }
