"""One standing, many protocols: what Argo and Flagger hear."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from acting.answers import Answer, Ruling, Why
from acting.protocols import (
    EXITS,
    FLAGGER,
    KAYENTA,
    Grade,
    Hook,
    Standing,
    Thresholds,
    argo_verdict,
    flagger,
    grade_of,
    standing_of,
)
from acting.standing import standing as standing_ruling
from detector.verdicts import Verdict
from tests.integration.gating import verdict_of

FROZEN = Ruling(Answer.FROZEN, Why.KILLED, "stopped")
NOT_REGRESSED = set(Standing) - {Standing.REGRESSED}
NOT_BAD = NOT_REGRESSED - {Standing.FROZEN}


@pytest.mark.parametrize("hook", Hook)
@pytest.mark.parametrize("standing", Standing)
def test_hooks_hear_200_or_409(hook: Hook, standing: Standing) -> None:
    """Never 204, a redirect or 5xx, which Flagger takes for something else; always a
    reason."""
    told = flagger(hook, standing, None, "because")
    assert told.status in (200, 409)
    assert "because" in told.reason


@pytest.mark.parametrize(
    ("hook", "yes"),
    [
        (Hook.CONFIRM_ROLLOUT, NOT_BAD),
        (Hook.PRE_ROLLOUT, NOT_REGRESSED),
        (Hook.ROLLOUT, NOT_REGRESSED),
        (
            Hook.CONFIRM_TRAFFIC_INCREASE,
            NOT_BAD - {Standing.UNRELIABLE, Standing.STALE},
        ),
        (Hook.CONFIRM_PROMOTION, {Standing.HEALTHY}),
        (Hook.POST_ROLLOUT, set(Standing)),
        (Hook.ROLLBACK, {Standing.REGRESSED}),
        (Hook.EVENT, set(Standing)),
    ],
)
def test_each_hook_has_its_yes(hook: Hook, yes: set[Standing]) -> None:
    """No data holds no rollout back before it has traffic; nothing but a regression
    rolls back, and none that people have frozen, by failed checks neither; only
    health promotes."""
    assert {s for s in Standing if flagger(hook, s, None, "").status == 200} == yes


def test_refused_rollback_is_no() -> None:
    """A regression that may not be acted on now does not roll back."""
    told = flagger(Hook.ROLLBACK, Standing.REGRESSED, FROZEN, "bad")
    assert (told.status, "stopped" in told.reason) == (409, True)


def test_argo_hears_three_words() -> None:
    """Whatever is not known for sure is inconclusive: Argo pauses."""
    assert {argo_verdict(s) for s in Standing} == {
        "healthy",
        "regressed",
        "inconclusive",
    }
    assert argo_verdict(Standing.STALE) == argo_verdict(Standing.UNKNOWN)


@pytest.mark.parametrize(
    ("why", "standing"),
    [
        (Why.HEALTHY, Standing.HEALTHY),
        (Why.UNSIGNED, Standing.STALE),
        (Why.SILENT, Standing.STALE),
        (Why.UNKNOWN, Standing.UNKNOWN),
        (Why.REGRESSED, Standing.REGRESSED),
        (Why.KILLED, Standing.FROZEN),
        (Why.CALENDAR, Standing.FROZEN),
    ],
)
def test_rulings_have_a_standing(why: Why, standing: Standing) -> None:
    """What is not believed is stale; none at all stands for a regression."""
    assert standing_of(Ruling(Answer.STALE, why, "")) is standing
    assert standing_of(None) is Standing.REGRESSED


def test_page_says_the_table() -> None:
    """docs/gate.md holds one row for each standing, as the code has it."""
    page = (Path(__file__).parents[3] / "docs" / "gate.md").read_text(encoding="utf-8")
    for standing in Standing:
        hooks = ", ".join(f"`{one}`" for one in Hook if standing in FLAGGER[one])
        grade = KAYENTA.get(standing, Grade.MARGINAL).value
        row = (
            f"| {standing} | {EXITS[standing]:d} | {argo_verdict(standing)} | {grade} "
        )
        assert f"{row}| {hooks} |" in page, standing


@pytest.mark.parametrize("verdict", Verdict)
def test_exit_codes_fit_the_standing(verdict: Verdict) -> None:
    """What `hypercare gate` exits with is the table's, for every verdict with a
    recommendation where one belongs."""
    said = standing_ruling(
        verdict_of(("shop", "2"), verdict=verdict), is_recommended=True
    )
    code = Answer.ACT if said is None else said.answer
    assert code is EXITS[standing_of(said)]


@pytest.mark.parametrize("passing", [1, 2, 50.5, 90, 100])
@pytest.mark.parametrize("marginal", [0, 0.5, 1, 49, 75, 90, 99.5])
def test_scores_read_as_their_grade(passing: float, marginal: float) -> None:
    """A score is given only where whoever cuts it to an integer and compares reads
    the same grade; with room for three, all three are given."""
    limits = Thresholds(passing, marginal)
    for grade in Grade:
        score = limits.score(grade)
        if score is None:
            continue
        assert type(score) is int
        is_good, is_marginal = score >= passing, score >= marginal
        read = Grade.GOOD if is_good else Grade.MARGINAL if is_marginal else Grade.BAD
        assert read is grade
    has_room = 0 < marginal and math.ceil(marginal) < passing
    assert all(limits.score(grade) is not None for grade in Grade) == has_room


def test_one_bad_scope_fails_all() -> None:
    """Several scopes pass only if each is healthy; none at all is undecided."""
    assert grade_of([Standing.HEALTHY] * 2) is Grade.GOOD
    assert grade_of([Standing.HEALTHY, Standing.STALE]) is Grade.MARGINAL
    assert grade_of([Standing.STALE, Standing.REGRESSED]) is Grade.BAD
    assert grade_of([]) is Grade.MARGINAL
