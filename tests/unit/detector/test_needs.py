"""What would change a verdict: for every kind of verdict a need, with its size."""

from __future__ import annotations

from math import inf, log
from typing import Any

import pytest

from detector.decide import judge
from detector.evidence.rate_ratio import RECOVERY_RATIOS
from detector.facts import Judgement
from detector.findings import Finding
from detector.lineage import Fixed
from detector.needs import (
    PLAIN,
    Rates,
    change_needs,
    eta_s,
    ratio_found_by_now,
    smallest_ratio,
)
from detector.releases import Release
from detector.verdicts import Action, ReasonCode, Verdict
from tests.unit.detector import calm
from tests.unit.detector.calm import HOUR_MS, finding
from tests.unit.detector.traffic import QUICK, Log, at, deploy, harmful, run, said

RULE = QUICK.rules[0]
RELEASE = Release(name="2", number=2, first_ms=0, started_ms=0)
CALM = calm.CALM._replace(bad_candidate=50.0, bad_control=200.0)
PAST = finding(
    z=1.2, fires=False, ratio=(0.9, 1.4, 2.2), counts=(1e4, 140.0, 1e4, 100.0)
)
NAN = float("nan")


def needs(reason: ReasonCode, **facts: Any) -> str:
    """The words for a verdict with this reason."""
    verdict = {
        ReasonCode.UPPER_LIMIT_BELOW_MARGIN: Verdict.HEALTHY,
        ReasonCode.ERROR_RATE_UP: Verdict.REGRESSED,
    }.get(reason, Verdict.INCONCLUSIVE)
    judgement = Judgement(verdict, (reason,), Action.WATCH)
    fixed = facts.pop("fixed", ())
    seen = CALM._replace(**facts)
    return change_needs(seen, judgement, RELEASE, RULE, "session", fixed)


@pytest.mark.parametrize("reason", list(ReasonCode))
def test_every_reason_has_words(reason: ReasonCode) -> None:
    """Whatever the first reason is, the need is said, and no number is infinite."""
    fixed = (Fixed("KeyError", "still_there", 0.1, 0.1, (0.8, 1.0, 1.2), 0.0),)
    text = needs(reason, fixed=fixed, findings=(PAST,))
    assert text
    assert "inf" not in text.replace("info", "")
    assert "nan" not in text.replace("tenant", "")


def test_plain_needs_are_no_regressions() -> None:
    """Reasons for which a verdict is harmful never get a need without numbers."""
    assert not {ReasonCode.ERROR_RATE_UP, ReasonCode.USAGE_DOWN} & set(PLAIN)


def test_healthy_names_the_ratio_it_excludes() -> None:
    """What would have been found by now is named, and more traffic finds less."""
    text = needs(ReasonCode.UPPER_LIMIT_BELOW_MARGIN)
    assert "would have been found by now" in text
    less = ratio_found_by_now(CALM, log(400.0))
    ten = CALM._replace(
        units_candidate=5e4, units_control=2e5, bad_candidate=500.0, bad_control=2000.0
    )
    more = ratio_found_by_now(ten, log(400.0))
    assert less is not None
    assert more is not None
    assert 1.25 < more < less


def test_ratio_found_solves_the_growth() -> None:
    """At the ratio named, the failures so far carry just the evidence needed."""
    found = ratio_found_by_now(CALM, log(400.0))
    assert found is not None
    share = 0.2
    rates = Rates(0.0, found, 5000.0, 20_000.0, 200 * (1 + found / 4), 600.0)
    assert eta_s(rates, 1.25, log(400.0)) == pytest.approx(600.0, rel=0.02)
    assert 0.0 < share < 1.0


def test_no_failure_excludes_nothing() -> None:
    """Where the control never failed no ratio can be excluded."""
    quiet = CALM._replace(bad_control=0.0)
    assert ratio_found_by_now(quiet, log(400.0)) is None
    assert "that lasts" in needs(ReasonCode.UPPER_LIMIT_BELOW_MARGIN, bad_control=0.0)


def test_thin_traffic_counts_missing_units() -> None:
    """Both arms' missing units are said, and only those that are missing."""
    text = needs(ReasonCode.THIN_TRAFFIC, units_candidate=60.0)
    assert text == "40 more sessions of the release"
    text = needs(ReasonCode.THIN_TRAFFIC, units_candidate=60.0, units_control=99.0)
    assert text.endswith("and 1 more sessions beside it")


def test_warming_up_counts_minutes() -> None:
    """A young release hears how much longer it takes."""
    book = RULE.hypercare.min_hours
    text = needs(ReasonCode.WARMING_UP, now_ms=0)
    assert text.startswith(f"{book * 60:,.0f} more minutes")


def test_short_past_is_measured() -> None:
    """Without a past the need is an hour of it, and what there is."""
    text = needs(ReasonCode.NO_HISTORY, past_ms=20 * 60_000)
    assert "60 minutes" in text
    assert "are 20" in text


def test_nearest_finding_is_named() -> None:
    """A comparison below its threshold says how far it is and what it could see."""
    text = needs(ReasonCode.PAST_ONLY, findings=(PAST,))
    assert "z 1.2 of the 2.5" in text
    assert "a ratio of 2.2 or more" in text


def test_drop_is_named_downwards() -> None:
    """Of usage the smallest drop that could be seen is less than the margin."""
    drop = Finding(
        **{
            name: getattr(PAST, name)
            for name in ("guarantee", "fires", "segment", "onset_ms", "unit")
        },
        signal="usage",
        control="plan",
        reason="usage_down",
        z=1.0,
        threshold=3.0,
        ratio=(0.7, 0.8, 0.95),
        counts=(100.0, 20.0, 100.0, 0.0),
        margin=0.9,
    )
    least = smallest_ratio(drop)
    assert least is not None
    assert least < 0.9
    assert "or less" in needs(ReasonCode.UNDECIDED, findings=(drop,))


@pytest.mark.parametrize("ratio", [(0.0, 1.0, 2.0), (1.0, 2.0, inf), (0.0, NAN, inf)])
def test_open_interval_has_no_smallest(ratio: tuple[float, float, float]) -> None:
    """An interval without limits says nothing of what could be found."""
    values = {f: getattr(PAST, f) for f in PAST.__struct_fields__}
    assert smallest_ratio(Finding(**{**values, "ratio": ratio})) is None


def test_harm_hears_what_would_end_it() -> None:
    """A regression says how many failures would show that it has gone."""
    text = needs(ReasonCode.ERROR_RATE_UP)
    assert f"ratio of {max(RECOVERY_RATIOS):g}" in text
    past = needs(ReasonCode.ERROR_RATE_UP, findings=(PAST,))
    assert "30 minutes" in past


def test_hotfix_needs_its_signature_gone() -> None:
    """A fix that did not work is named, one too early to judge is counted."""
    early = Fixed("TypeError", "too_early", 0.1, 0.0, (0.0, 0.1, 0.9), 1234.0)
    text = needs(ReasonCode.UPPER_LIMIT_BELOW_MARGIN, fixed=(early,))
    assert "1,234 more units without TypeError" in text


def test_eta_needs_growth() -> None:
    """Without failures, time, or a ratio above the margin it would never decide."""
    good = Rates(1.0, 2.0, 500.0, 500.0, 60.0, 600.0)
    assert eta_s(good, 1.25, 0.5) == 0.0
    for changes in (
        {"ratio": 1.2},
        {"ratio": inf},
        {"failures": 0.0},
        {"watched_s": 0.0},
        {"units": 0.0},
        {"units_control": 0.0},
    ):
        assert eta_s(good._replace(**changes), 1.25, 6.0) is None


def test_lost_control_names_its_past() -> None:
    """Where no control is left the reason says whether there is a past."""
    lost = CALM._replace(joint_windows=0, control_windows=0, past_ms=0)
    words = [
        judge(facts, RELEASE, RULE, episode=None).reasons[0]
        for facts in (
            lost._replace(past_ms=-1),
            lost,
            lost._replace(past_ms=2 * HOUR_MS, has_past=True),
            lost._replace(past_ms=-1, control_windows=9),
        )
    ]
    assert words == [
        ReasonCode.NO_CONTROL,
        ReasonCode.NO_HISTORY,
        ReasonCode.PAST_ONLY,
        ReasonCode.NO_COMMON_STRATUM,
    ]


def test_flip_without_past_is_no_history() -> None:
    """A minute after the first sight of a service nothing can be compared."""
    log = Log().windows(range(6), {"1": (800, 8)}).add(at(6), deploy(6))
    log.windows(range(6, 40), {"2": (800, 8)})
    found = said(run(log), "verdicts")
    assert found[-1]["reasons"] == ["no_history"]
    assert found[-1]["decision_eta_s"] is None


def test_running_release_has_an_eta() -> None:
    """An excess beside a control says when it will be decided."""
    log = harmful(0).windows(range(6, 12), {"1": (800, 80), "2": (200, 33)})
    found = said(run(log), "verdicts")
    assert found[-1]["verdict"] == "inconclusive"
    assert 0.0 < found[-1]["decision_eta_s"] < 3600.0


def hotfix(signature_stays: bool) -> list[dict[str, Any]]:
    """A bad release is rolled back, then its hotfix is rolled out."""
    log = harmful(20).add(at(26) + 100, deploy(26, phase="rolled_back"))
    log.windows(range(26, 40), {"1": (1000, 0)})
    log.add(
        at(40),
        deploy(40, "3", predecessor="1", weight=0.5, fixes=["KeyError: price"]),
    )
    bad = 10 if signature_stays else 0
    log.windows(range(40, 140), {"1": (500, bad), "3": (500, bad)})
    return [v for v in said(run(log), "verdicts") if v["release"] == "3"]


def test_hotfix_reports_its_fates() -> None:
    """What became of the fixed signature stands in the record and the sentence."""
    last = hotfix(signature_stays=False)[-1]
    (fixed,) = last["fixed_signatures"]
    assert (fixed["signature"], fixed["fate"]) == ("KeyError: price", "gone")
    assert fixed["before"] == pytest.approx(0.1, rel=0.01)
    assert "KeyError: price is gone." in last["sentence"]


def test_failed_hotfix_is_not_healthy() -> None:
    """As bad as its control is not good enough for a release that is to mend."""
    found = hotfix(signature_stays=True)
    assert "healthy" not in {v["verdict"] for v in found}
