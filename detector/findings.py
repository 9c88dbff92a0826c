"""What a procedure beside the e-processes has found, in one shape for all of them.

Proven evidence accumulates in the rows of ``detector.evidence.rows``. Comparisons
with the past, with other regions, with a plan or between cohorts are measured, not
proven: each says how far it is beyond its own threshold and whether the harm is
still there, and a decision treats them alike.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from detector.series import Segment

Control = Literal["concurrent", "regions", "history", "plan", "cohort"]
Guarantee = Literal["proven", "empirical"]


class Finding(Struct, frozen=True, array_like=True):
    """Harm that one procedure sees in one segment of one release.

    Attributes
    ----------
    signal, reason : str
        Name of the signal and the reason code it stands for.
    z, threshold : float
        Standardised excess over the margin, and from where on it counts.
    fires : bool
        Beyond the threshold, and the harm is still there.
    ratio : tuple of float
        Low, best and high ratio of the measure, candidate / expected.
    counts : tuple of float
        (units candidate, bad candidate, units control, bad control).
    acts : bool
        Whether the harm may be taken back by a rollback; else people look.
    """

    signal: str
    control: Control
    guarantee: Guarantee
    reason: str
    z: float
    threshold: float
    fires: bool
    segment: Segment
    ratio: tuple[float, float, float]
    counts: tuple[float, float, float, float]
    onset_ms: int
    unit: str
    margin: float = 1.0
    acts: bool = True
    detail: str = ""

    @property
    def log_e(self) -> float:
        """``z**2 / 2``: the log likelihood ratio a z of that size stands for.

        Display only: it is no e-value.
        """
        return max(0.0, self.z) ** 2 / 2.0
