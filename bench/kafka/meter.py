"""What one contestant used from its first records to its last."""

from __future__ import annotations

import json
import os
import resource
import time


class Meter:
    """Starts with the first records, ends with the last, writes one line and exits."""

    def __init__(self) -> None:
        self._began: tuple[float, float] | None = None
        self.longest_step_s = 0.0

    def begin(self) -> None:
        """Note that records have come; only the first call counts."""
        if self._began is None:
            self._began = time.perf_counter(), time.process_time()

    def end(self, events: int) -> None:
        """Print what was used for so many events, and end the process at once."""
        assert self._began is not None
        used = resource.getrusage(resource.RUSAGE_SELF)
        line = {
            "events": events,
            "wall_s": time.perf_counter() - self._began[0],
            "cpu_s": time.process_time() - self._began[1],
            "peak_mb": used.ru_maxrss / 1024,
            "longest_step_ms": self.longest_step_s * 1000,
        }
        # Faust makes log lines of what is written to `sys.stdout`.
        os.write(1, f"\nresult {json.dumps(line)}\n".encode())
        os._exit(0)
