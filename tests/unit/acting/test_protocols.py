"""One standing, many protocols: what Argo and Flagger hear."""

from __future__ import annotations

import pytest

from acting.answers import Answer, Ruling, Why
from acting.protocols import Hook, Standing, argo_verdict, flagger, standing_of

FROZEN = Ruling(Answer.FROZEN, Why.KILLED, "stopped")
NOT_BAD = set(Standing) - {Standing.REGRESSED}


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
        (Hook.PRE_ROLLOUT, NOT_BAD),
        (Hook.ROLLOUT, NOT_BAD),
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
    rolls back; only health promotes."""
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
    ],
)
def test_rulings_have_a_standing(why: Why, standing: Standing) -> None:
    """What is not believed is stale; none at all stands for a regression."""
    assert standing_of(Ruling(Answer.STALE, why, "")) is standing
    assert standing_of(None) is Standing.REGRESSED
