"""Facts of a release that does no harm, and a finding of one that does."""

from __future__ import annotations

from typing import Any

from detector.facts import Facts
from detector.findings import Finding

HOUR_MS = 3_600_000
CALM = Facts(
    signal="errors",
    now_ms=2 * HOUR_MS,
    log_e=-1.0,
    persistent=False,
    recovered=False,
    ratio=(0.8, 1.0, 1.2),
    margin=1.25,
    units_candidate=5000.0,
    units_control=20_000.0,
    last_usage_ms=2 * HOUR_MS,
    joint_windows=700,
    control_windows=700,
    errors_only_windows=0,
    errors_only_lines=0,
    mismatched=False,
)


def finding(**changes: Any) -> Finding:
    """More failures than the release's own past has, with changes."""
    values: dict[str, Any] = {
        "signal": "errors",
        "control": "history",
        "guarantee": "empirical",
        "reason": "error_rate_up",
        "z": 4.0,
        "threshold": 2.5,
        "fires": True,
        "segment": (),
        "ratio": (2.0, 3.2, 5.0),
        "counts": (1000.0, 32.0, 1000.0, 10.0),
        "onset_ms": 0,
        "unit": "session",
        "margin": 1.25,
    }
    return Finding(**{**values, **changes})
