"""The worker with points at which it dies: ``python -m tests.faults.worker``.

``FAULT_POINT`` is ``before_sent`` (the state is written, the recommendation is not
sent) or ``after_sent`` (it is sent, and not marked so). ``FAULT_ONCE`` names a file:
who removes it dies, by SIGKILL, so each point is met once.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from detector.records import Output
from detector.wire import RECOMMENDATIONS
from streams import app
from streams.bus import Bus
from streams.cli.main import main

POINTS = ("before_sent", "after_sent")


class MortalBus(Bus):
    """The worker's own producer, and death beside the first recommendation."""

    async def emit(self, outputs: Sequence[Output]) -> None:
        """Send, and die before or after if a recommendation is among it."""
        told = any(output.topic == RECOMMENDATIONS for output in outputs)
        if told:
            self._die_at("before_sent")
        await super().emit(outputs)
        if told:
            self._die_at("after_sent")

    def _die_at(self, point: str) -> None:
        if os.environ.get("FAULT_POINT") != point:
            return
        try:
            Path(os.environ["FAULT_ONCE"]).unlink()
        except FileNotFoundError:
            return
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    app.Bus = MortalBus  # type: ignore[misc]
    sys.argv = ["hypercare", "worker"]
    main()
