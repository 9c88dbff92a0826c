"""Did taking a release back stop the harm it was taken back for?

Failures of the harmed segment while the harm lasted beside those after the way back,
without the release itself. Two answers are compared on the log scale: the rate falls
to where the release's control was, or it stays. The statistic is the difference of
two log Poisson rates (Przyborowski & Wilenski 1940, "Homogeneity of results in testing
samples from Poisson series") over its noise, in which a log-sd stands for the wander
of a quiet service. Before and after are no two arms of one time: the answer is
measured, not proven, and its threshold the z that an evidence of 100 stands for.
"""

from __future__ import annotations

from math import exp, log, sqrt
from typing import Literal, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from detector.findings import Finding
from detector.latencystate import LatencyState
from detector.ledger import FINE_KEPT_MS
from detector.releases import Stage
from detector.series import Segment
from detector.spans import MINUTE_MS, Books, Counts, Question, counts, wander

Outcome = Literal["waiting", "helped", "did_not_help", "unverified"]

SETTLE_MS = 120_000
"""Left out after the way back: old processes end, sessions begun on it run out."""

HELPED_AFTER_MS = 180_000
STAYED_AFTER_MS = 600_000
"""Least time that is looked at before either answer. Longer for the harder charge:
caches and queues that a bad release filled take a while to drain."""

VERIFY_WITHIN_MS = 1_800_000
"""From then on traffic was too thin, or the harm too small, to tell."""

BINS_LEAST = 6
"""Bins that are waited for at least, where they are wider than five minutes."""

BEFORE_MAX_MS = 3 * 3_600_000
"""Of a long harm the last hours count: the fine bins of the ledger reach no further."""

Z_LEAST = sqrt(2.0 * log(100.0))
"""An evidence of 100 (statistics 4.3) as a z."""

SPREAD = 0.1
"""Log-sd between two times of one quiet service, beside sampling and beside what the
hours before the onset show."""

Z95 = 1.96
RATIO_MAX = 1e9
"""No upper limit, as records write it."""

WHOLE_RATIO = 1.5
"""From this change of the whole on, the whole tells whether the harm is gone; below
it, as after a small canary, only the release's own rate can be compared with."""

LEFT_OVER_SHARE = 0.05
"""Above this share of the units the release has not been taken back yet."""

EXONERATED_MS = 86_400_000
EXCUSED_FACTOR = 1.25
"""A harm up to this many times the one that went on without it is not its own."""

AFTERMATHS_MAX = 16
"""Ways back remembered per service and environment."""


class Aftermath(Struct, array_like=True):
    """The way back from one release, and what came of it.

    Attributes
    ----------
    harm_ratio : float
        Rate of the release divided by its control's, when it was taken back; of
        usage the share that was left.
    added : float
        Failures a unit that a new signature added, 0 for other harms.
    before, after : tuple of float
        (units, bad) while the harm lasted and since, those the answer rests on.
    base : float
        Rate to which failures fall if the release was to blame.
    z : float
        How clearly the answer was told from the other one.
    left : float
        What was left of the harm, as a ratio to ``base``.
    """

    release: str
    number: int
    component: str | None
    recommendation_id: str
    signal: str
    segment: Segment
    unit: str
    onset_ms: int
    ended_ms: int
    harm_ratio: float
    bad_control: float
    added: float = 0.0
    edge: int = -1
    outcome: Outcome = "waiting"
    before: tuple[float, float] = (0.0, 0.0)
    after: tuple[float, float] = (0.0, 0.0)
    base: float = 0.0
    z: float = 0.0
    left: float = 1.0
    done_ms: int = -1

    @property
    def begin_ms(self) -> int:
        """From when on failures count as coming after the release."""
        return self.ended_ms + SETTLE_MS

    def ratio(self) -> tuple[float, float, float]:
        """Low, best and high ratio of the rate before to the rate since."""
        (units, bad), (units_after, bad_after) = self.before, self.after
        if units <= 0 or units_after <= 0:
            return 0.0, 1.0, RATIO_MAX
        point = (bad + 0.5) / units / ((bad_after + 0.5) / units_after)
        noise = 1.0 / (bad + 0.5) + 1.0 / (bad_after + 0.5) + SPREAD**2
        reach = exp(Z95 * sqrt(noise))
        low, high = point / reach, point * reach
        return float(f"{low:.6g}"), float(f"{point:.6g}"), float(f"{high:.6g}")


class Reading(NamedTuple):
    """The two answers a rate after the way back is compared with.

    ``stay`` and ``base`` are (rate, failures it rests on), ``before`` the counts that
    the first of them comes from.
    """

    stay: tuple[float, float]
    base: tuple[float, float]
    before: tuple[float, float]


def follow(aftermath: Aftermath, books: Books, now_ms: int) -> bool:
    """Whether it is clear now what the way back has done; notes the answer.

    Examples
    --------
    It never takes longer than ``SETTLE_MS + VERIFY_WITHIN_MS`` of event time, or six
    bins.
    """
    if aftermath.outcome != "waiting":
        return False
    age_ms = now_ms - aftermath.begin_ms
    if age_ms >= HELPED_AFTER_MS and books.ledger.coarse_ms > 0:
        aftermath.outcome = _answer(aftermath, books, now_ms, age_ms)
    within_ms = max(VERIFY_WITHIN_MS, BINS_LEAST * books.ledger.fine_ms)
    if age_ms >= within_ms and _is_open(aftermath):
        aftermath.outcome = "unverified"
    if _is_open(aftermath):
        return False
    aftermath.done_ms = now_ms
    return True


def _is_open(aftermath: Aftermath) -> bool:
    return aftermath.outcome == "waiting"


def is_excused(aftermath: Aftermath, finding: Finding, now_ms: int) -> bool:
    """Whether a harm is no larger than the one that went on without the release.

    For a day after the way back did not help, for the same signal, and inside the
    same segment: anything worse, and anything else, is new evidence. Rates are
    compared, not ratios, because by now the harm is part of the past.
    """
    innocent = aftermath.outcome == "did_not_help"
    if not innocent or now_ms - aftermath.done_ms > EXONERATED_MS:
        return False
    if finding.signal.partition(":")[0] != _kind(aftermath.signal):
        return False
    if aftermath.segment not in ((), finding.segment):
        return False
    units, bad = finding.counts[:2]
    if aftermath.signal == "usage":
        minutes = (now_ms - finding.onset_ms) / MINUTE_MS
        return units >= minutes * _rate(aftermath.after) / EXCUSED_FACTOR
    if aftermath.edge >= 0 or finding.segment != aftermath.segment:
        # Of another edge or a part of the whole no rate is known, only its growth.
        return finding.ratio[1] <= aftermath.left * EXCUSED_FACTOR
    return bad <= units * _rate(aftermath.after) * EXCUSED_FACTOR


def _rate(counted: tuple[float, float]) -> float:
    return counted[1] / counted[0] if counted[0] > 0 else 0.0


def edge_of(
    latency: LatencyState, signal: str, detail: str, number: int, until_ms: int
) -> int:
    """The edge above which a request is slow: the one that the finding names.

    ``detail`` is what the finding says of it; a signal beside a control names the
    quantile (``latency:p97``), which is read off the other releases. -1 where no
    duration can be compared.
    """
    ledger = latency.fine
    if ledger.bin_ms <= 0 or not ledger.edges_ms:
        return -1
    for place, edge_ms in enumerate(ledger.edges_ms):
        if detail == f"above {edge_ms:g} ms":
            return place
    percent = signal.partition(":")[2].removeprefix("p") or "90"
    found = ledger.edges_for(
        max(0, until_ms - FINE_KEPT_MS),
        until_ms,
        lambda key: key[0] != number,
        (float(percent) / 100.0,),
    )
    return found[0] if found else -1


def excuse(
    aftermath: Aftermath | None, findings: list[Finding], now_ms: int
) -> list[Finding]:
    """The findings about a release that is back, no action on what it did not do.

    Comparisons with the past and with other regions only: a control beside it shares
    whatever else goes on, so that evidence is new.
    """
    if aftermath is None:
        return findings
    return [
        replace(f, acts=False, detail="seen without it, too")
        if f.control in ("history", "regions") and is_excused(aftermath, f, now_ms)
        else f
        for f in findings
    ]


def _kind(signal: str) -> str:
    kind = signal.partition(":")[0]
    return "errors" if kind == "new_signature" else kind


def _answer(aftermath: Aftermath, books: Books, now_ms: int, age_ms: int) -> Outcome:
    """Which of the two it is, or ``waiting``; notes what that rests on."""
    begin_ms = max(aftermath.onset_ms, aftermath.ended_ms - BEFORE_MAX_MS)
    question = Question(
        aftermath.number,
        aftermath.segment,
        aftermath.edge,
        aftermath.signal == "usage",
    )
    before = counts(question, books, begin_ms, aftermath.ended_ms)
    after = counts(
        question, books, aftermath.begin_ms, now_ms, _came_since(aftermath, books)
    )
    reading = _reading(aftermath, before)
    units, bad = after.others
    if reading is None or units <= 0:
        return "waiting"
    aftermath.before, aftermath.after = reading.before, after.others
    aftermath.base = reading.base[0]
    now = (bad + 0.5) / units
    aftermath.left = now / reading.base[0]
    oldest_ms = max(0, now_ms - FINE_KEPT_MS)
    spread = SPREAD
    if oldest_ms < aftermath.onset_ms:
        seen = wander(question, books, oldest_ms, aftermath.onset_ms)
        spread = sqrt(SPREAD**2 + seen**2)
    fallen = _z(reading.stay, (now, bad), spread)
    stayed = _z((now, bad), reading.base, spread)
    if reading.stay[0] < reading.base[0]:  # usage: the harm is to have less
        fallen, stayed = -fallen, -stayed
    halfway = sqrt(reading.stay[0] * reading.base[0])
    near_base = (now < halfway) == (reading.base[0] < halfway)
    if near_base and fallen >= Z_LEAST:
        aftermath.z = fallen
        return "helped"
    is_back = after.own[0] <= LEFT_OVER_SHARE * units
    old = is_back and age_ms >= STAYED_AFTER_MS
    if not near_base and old and stayed >= Z_LEAST:
        aftermath.z = stayed
        return "did_not_help"
    return "waiting"


def _came_since(aftermath: Aftermath, books: Books) -> frozenset[int]:
    """Releases deployed after the way back: what they do is theirs."""
    return frozenset(
        r.number
        for r in books.registry.releases.values()
        if r.stage is Stage.CANDIDATE and r.started_ms >= aftermath.ended_ms
    )


def _reading(aftermath: Aftermath, before: Counts) -> Reading | None:
    """What the rate would be if the release was to blame, and if it was not."""
    if aftermath.signal == "usage":
        units, bad = before.whole
        if units <= 0 or bad <= 0:
            return None
        rate = bad / units
        base = rate / max(1e-3, aftermath.harm_ratio)
        return Reading((rate, bad), (base, bad), (units, bad))
    units, bad = before.own
    if units <= 0 or bad <= 0:
        return None
    rate = bad / units
    least = 0.5 / before.whole[0]
    base = rate / min(1e3, max(1.0, aftermath.harm_ratio))
    if aftermath.added > 0:
        base = rate - aftermath.added
    base = max(least, base)
    whole = before.whole
    seen = whole if whole[1] / whole[0] >= WHOLE_RATIO * base else before.own
    return Reading((seen[1] / seen[0], seen[1]), (base, aftermath.bad_control), seen)


def _z(more: tuple[float, float], less: tuple[float, float], spread: float) -> float:
    """How clearly one rate lies above another, each with its count of failures."""
    noise = 1.0 / (more[1] + 0.5) + 1.0 / (less[1] + 0.5) + spread**2
    return log(more[0] / less[0]) / sqrt(noise)
