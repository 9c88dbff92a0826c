"""A wall clock that jumps under a running worker: Debian's libfaketime.

Where it is not installed it comes as Prometheus does: from the distribution's own
package, unpacked into a cache folder, without root.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from tools.fetch_monitoring import FetchError, cache_folder, download, unpack

PACKAGE = "libfaketime"
LIBRARY = "libfaketime.so.1"
PLACES = "usr/lib/*/faketime"


def library() -> Path:
    """Return the library.

    Raises
    ------
    FetchError
        It is neither here nor to be had; the text says why.
    """
    target = cache_folder().parent / "faketime"
    for root in (Path("/"), target):
        for found in root.glob(f"{PLACES}/{LIBRARY}"):
            return found
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as name:
        folder = Path(name)
        download(folder, [PACKAGE])
        unpacked = unpack(folder)
        shutil.rmtree(target, ignore_errors=True)
        unpacked.rename(target)
    for found in target.glob(f"{PLACES}/{LIBRARY}"):
        return found
    raise FetchError(f"the package {PACKAGE} holds no {LIBRARY}")


class Clock:
    """What time a worker believes it is, as an offset from the truth.

    Its monotonic clock stays true, as it does when a machine's clock is set.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / "clock"
        self._library = library()
        self.jump(0)

    def jump(self, seconds: int) -> None:
        """Set the clock this far from the truth."""
        # Read at any moment, so replaced and never written in place.
        fresh = self._file.with_suffix(".new")
        fresh.write_text(f"{seconds:+d}s\n")
        fresh.replace(self._file)

    def environment(self) -> dict[str, str]:
        """Return what a worker needs to believe this clock."""
        return {
            "LD_PRELOAD": str(self._library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
