"""Sentences a person reads at 3 am. Numbers first, jargon never."""

from __future__ import annotations

from datetime import UTC, datetime

from detector.verdicts import Action, ReasonCode

Ratio = tuple[float, float, float]

RATIO_LIMIT = 1e9
"""Stands for "no upper limit" where infinity can not be written."""

ACTION_WORDS = {
    Action.CONTINUE: "Go on.",
    Action.WATCH: "Keep watching.",
    Action.HOLD: "Hold the rollout.",
    Action.WITHDRAW: "Switch the component off.",
    Action.REPLACE: "Put the component's last good version back.",
    Action.HALT: "Halt the phased release.",
    Action.ROLLBACK: "Roll back.",
    Action.HOTFIX: "Going back is not possible: ship a fix.",
    Action.INVESTIGATE: "Have a look.",
}

NOWHERE_WORDS = (
    "Going back would help, but no earlier release is known to be safe: a person has "
    "to choose one."
)

REASON_WORDS = {
    ReasonCode.ERROR_RATE_UP: "more units fail than under the control",
    ReasonCode.LATENCY_UP: "more requests are slow than under the control",
    ReasonCode.USAGE_DOWN: "it is used less than it should be",
    ReasonCode.ACTIONS_DOWN: "its sessions get less done than under the control",
    ReasonCode.STEPS_DOWN: "fewer sessions get through a step",
    ReasonCode.NEW_SIGNATURE: "a failure that was not there before adds to the rest",
    ReasonCode.FEEDBACK_WORSE: "users complain more, or score it lower",
    ReasonCode.UNUSUAL_CLIENT: "few clients fail over and over; it may be a robot",
    ReasonCode.SAMPLE_RATIO_OFF: "its share of users is not the planned one",
    ReasonCode.BLAME_UNCLEAR: "its units run another change too; either may do harm",
    ReasonCode.HARM_SUSPECTED: "more units fail, but the evidence is not enough yet",
    ReasonCode.HARM_NOT_PERSISTENT: "more units failed; not yet shown that it lasts",
    ReasonCode.RECOVERED: "the excess of failures has gone",
    ReasonCode.UPPER_LIMIT_BELOW_MARGIN: "even the upper limit is below the margin",
    ReasonCode.UNDECIDED: "the interval still contains the margin",
    ReasonCode.WARMING_UP: "the release is too young to be called healthy",
    ReasonCode.THIN_TRAFFIC: "too little traffic to be called healthy",
    ReasonCode.NO_CONTROL: "no other release runs beside it to compare with",
    ReasonCode.NO_HISTORY: "nothing runs beside it and its past is too short",
    ReasonCode.COHORTS_ONLY: "its failures come late; by equal age they show no harm",
    ReasonCode.USAGE_LATE: "much of its usage comes too late to count",
    ReasonCode.CLOCK_OFF: "its clock is wrong and had to be mended",
    ReasonCode.PAST_ONLY: "nothing runs beside it; its own past shows no harm",
    ReasonCode.NO_COMMON_STRATUM: "it shares no segment with the releases beside it",
    ReasonCode.NO_USAGE: "no usage of this release has been seen",
    ReasonCode.WENT_SILENT: "its usage has stopped",
    ReasonCode.ERRORS_WITHOUT_USAGE: "errors arrive but its usage does not",
    ReasonCode.UNIT_MISMATCH: "usage and errors are counted in different units",
    ReasonCode.INFERRED_RELEASE: "no deploy event named this release",
    ReasonCode.ROLLED_BACK: "it was taken back",
    ReasonCode.ROLLBACK_HELPED: "taking it back stopped the harm",
    ReasonCode.ROLLBACK_DID_NOT_HELP: "the harm goes on without it; it is innocent",
    ReasonCode.ROLLBACK_UNVERIFIED: "too little traffic to tell if that helped",
    ReasonCode.EXONERATED: "the harm was there while it was taken back, too",
    ReasonCode.FIX_INCOMPLETE: "a failure it was to fix is still there",
    ReasonCode.WITHDRAWN_BY_COMMAND: "a person withdrew the recommendation",
    ReasonCode.NO_SAFE_TARGET: "no earlier release is known to be safe to go back to",
    ReasonCode.COMPONENT_OFF: "the component that did harm was taken out",
    ReasonCode.HARM_SPREAD: "not one component alone does harm",
}


def reasons_text(reasons: tuple[ReasonCode, ...]) -> str:
    """Reason codes in words, joined."""
    return "; ".join(REASON_WORDS[code] for code in reasons)


def times_text(ratio: Ratio) -> str:
    """A rate ratio with its interval: "4.1 times (95 % interval 3.2 to 5.3)"."""
    low, point, high = ratio
    upper = "no upper limit" if high >= RATIO_LIMIT else f"{high:.2g}"
    return f"{point:.2g} times (95 % interval {low:.2g} to {upper})"


def segment_text(segment: tuple[tuple[str, str], ...]) -> str:
    """A segment in words: "os=android, region=eu", or "everywhere"."""
    return ", ".join(f"{a}={v}" for a, v in segment) if segment else "everywhere"


def clock_text(at_ms: int) -> str:
    """UTC minute of an epoch time: "2026-11-22 14:02 UTC"."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")


def count_text(value: float) -> str:
    """A count with thousands separators and no false precision."""
    return f"{value:,.0f}"


MEASURE_WORDS = {
    "errors": "fail",
    "new_signature": "fail in a new way",
    "latency": "are slow",
    "feedback": "complain",
    "usage": "are there",
    "actions": "end well",
    "steps": "give up",
}
DID_WORDS = {
    "errors": "failed",
    "new_signature": "failed in that way",
    "latency": "were slow",
    "feedback": "complained",
    "usage": "were expected",
    "actions": "were expected",
    "steps": "gave up",
}


def harm_sentence(
    *,
    service: str,
    release: str,
    signal: str,
    controls: tuple[str, ...],
    unit: str,
    segment: tuple[tuple[str, str], ...],
    ratio: Ratio,
    onset_ms: int,
    bad: float,
    units: float,
    excess: float,
    action: Action,
    target: str | None,
) -> str:
    """Why a release is recommended against, in one breath.

    Examples
    --------
    >>> text = harm_sentence(service="s", release="2", signal="errors", controls=("1",),
    ...     unit="session", segment=(("os", "android"),), ratio=(3.2, 4.1, 5.3),
    ...     onset_ms=1_795_356_120_000, bad=212, units=1900, excess=160,
    ...     action=Action.ROLLBACK, target="1")
    >>> for part in text.partition(" where ")[0], text.partition("; ")[2]:
    ...     print(part)
    s 2: sessions fail 4.1 times (95 % interval 3.2 to 5.3) as often as on 1
    212 of 1,900 sessions failed, about 160 more than expected. Roll back to 1.
    """
    where = f" where {segment_text(segment)}," if segment else ","
    words = ACTION_WORDS[action]
    if action is Action.ROLLBACK:
        words = f"Roll back to {target}." if target is not None else NOWHERE_WORDS
    if action is Action.REPLACE and target is not None:
        words = f"Put version {target} of the component back."
    kind = signal.partition(":")[0]
    if kind == "usage":
        return (
            f"{service} {release}: {unit}s are {times_text(ratio)} what was to be "
            f"expected by {' and '.join(controls)}{where} since "
            f"{clock_text(onset_ms)}; {count_text(units - bad)} {unit}s came where "
            f"{count_text(units)} were expected. {words}"
        )
    if kind == "actions":
        return (
            f"{service} {release}: a session gets {times_text(ratio)} as much done as "
            f"on {' and '.join(controls)}{where} since {clock_text(onset_ms)}; "
            f"{count_text(units - bad)} {unit}s ended well where {count_text(units)} "
            f"were expected. {words}"
        )
    return (
        f"{service} {release}: {unit}s {MEASURE_WORDS[kind]} {times_text(ratio)} as "
        f"often as on {' and '.join(controls)}{where} since {clock_text(onset_ms)}; "
        f"{count_text(bad)} of {count_text(units)} {unit}s {DID_WORDS[kind]}, about "
        f"{count_text(excess)} more than expected. {words}"
    )


def verdict_sentence(
    service: str,
    release: str,
    verdict: str,
    reasons: tuple[ReasonCode, ...],
    action: Action,
) -> str:
    """A verdict that is no alarm, in one sentence."""
    word = verdict.replace("_", " ")
    return (
        f"{service} {release} is {word}: {reasons_text(reasons)}. "
        f"{ACTION_WORDS[action]}"
    )


AFTER_WORDS = {
    ReasonCode.ROLLBACK_HELPED: "taking it back helped",
    ReasonCode.ROLLBACK_DID_NOT_HELP: "taking it back did not help",
    ReasonCode.ROLLBACK_UNVERIFIED: "whether taking it back helped can not be told",
}
FATE_WORDS = {
    "gone": "is gone",
    "still_there": "is still there",
    "too_early": "can not be judged yet",
    "unknown_signature": "was not seen before",
}


def aftermath_sentence(
    *,
    service: str,
    release: str,
    signal: str,
    reason: ReasonCode,
    unit: str,
    segment: tuple[tuple[str, str], ...],
    before: float | None,
    after: float | None,
    begin_ms: int,
) -> str:
    """What became of a harm after its release was taken back.

    Examples
    --------
    >>> text = aftermath_sentence(service="s", release="2", signal="errors",
    ...     reason=ReasonCode.ROLLBACK_HELPED, unit="session", segment=(),
    ...     before=0.061, after=0.0102, begin_ms=1_795_356_120_000)
    >>> print(text.partition(" since ")[0])
    s 2: taking it back helped: 6.1 % of sessions failed with it, 1 %
    """
    text = f"{service} {release}: {AFTER_WORDS[reason]}"
    if before is not None and after is not None:
        kind = signal.partition(":")[0]
        where = f" where {segment_text(segment)}" if segment else ""
        since = f" since {clock_text(begin_ms)}{where}"
        if kind == "usage":
            text += f": {before:.3g} {unit}s a minute with it, {after:.3g}{since}"
        else:
            text += (
                f": {100 * before:.2g} % of {unit}s {DID_WORDS[kind]} with it, "
                f"{100 * after:.2g} %{since}"
            )
    if reason is ReasonCode.ROLLBACK_DID_NOT_HELP:
        text += ". It is not to blame: look elsewhere"
    return text + "."


def fixes_text(fates: tuple[tuple[str, str], ...]) -> str:
    """What became of the failures a release was to fix, given as (name, fate)."""
    return "".join(f" {name} {FATE_WORDS[fate]}." for name, fate in fates)


def rivals_text(rivals: tuple[str, ...]) -> str:
    """Which other changes the same units run, given by name.

    Examples
    --------
    >>> rivals_text(("cart 7", "2"))
    ' The others: cart 7, 2.'
    """
    return f" The others: {', '.join(rivals)}." if rivals else ""


def closing_sentence(
    service: str, release: str, state: str, reasons: tuple[ReasonCode, ...]
) -> str:
    """Why a recommendation is no longer open, in one sentence."""
    return (
        f"{service} {release}: the recommendation is {state}: {reasons_text(reasons)}."
    )
