"""The comparison of two rule sets, and what may be concluded from it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from scipy import stats

from detector.backtest.goahead import (
    Decision,
    Limits,
    Standing,
    checks,
    decide,
    lower,
    more_needed,
    tally,
    upper,
)
from detector.backtest.pilot import Pilot, Truth, compare
from detector.backtest.words import Heard, heard

DAY = 86_400_000
T0 = 1_795_000_000_000


def verdict(n: int, word: str, at: int, **more: Any) -> dict[str, Any]:
    """A verdict on release ``n``, ``at`` ms after the beginning."""
    return {
        "type": "verdict",
        "decided_at": T0 + at,
        "service": "shop",
        "environment": "production",
        "release": str(n),
        "verdict": word,
        "reasons": [],
        "rules_hash": "a",
        **more,
    }


def asks(n: int, at: int, action: str = "rollback", **more: Any) -> dict[str, Any]:
    """An open recommendation about release ``n``."""
    body = verdict(n, "", at, action=action, state="open", **{"id": f"rec_{n}", **more})
    del body["verdict"]
    return body


def told(n: int, label: str, at: int = 0) -> dict[str, Any]:
    """A label, as the audit keeps it."""
    return {
        "command": "label",
        "service": "shop",
        "environment": "production",
        "release": str(n),
        "recommendation_id": f"rec_{n}",
        "value": label,
        "at": T0 + at,
    }


def said(*bodies: dict[str, Any]) -> Heard:
    return heard([json.dumps(body).encode() for body in bodies], "test")


def well(count: int, *, step: int = DAY // 20) -> list[dict[str, Any]]:
    """So many releases found healthy, one after the other."""
    return [verdict(n, "healthy", n * step) for n in range(count)]


def standing_of(pilot: Pilot, word: str, limits: Limits | None = None) -> Standing:
    (one,) = [c for c in checks(pilot, limits or Limits()) if word in c.question]
    return one.standing


def test_earlier_and_later_are_measured() -> None:
    """The lead is live's moment minus the candidate's, and counts by its sign."""
    live = said(*[asks(n, 1_000 * n + 60_000) for n in range(3)])
    tried = said(asks(0, 30_000), asks(1, 61_000), asks(2, 90_000))
    pilot = compare(live, tried)
    assert [one.lead_ms for one in pilot.outcomes] == [30_000, 0, -28_000]
    found = tally(pilot)
    assert (found.earlier, found.same, found.later) == (1, 1, 1)
    assert (found.only_tried, found.only_live) == (0, 0)


def test_labels_say_what_was_so() -> None:
    """A label is its recommendation's release's; the newest counts, late is right."""
    live = said(
        *[asks(n, n) for n in range(4)],
        *(told(0, "wrong"), told(1, "right"), told(2, "late")),
        told(0, "right", 5),
    )
    truths = {o.name.release: o.truth for o in compare(live, None).outcomes}
    assert truths == {
        "0": Truth.HARMFUL,
        "1": Truth.HARMFUL,
        "2": Truth.HARMFUL,
        "3": Truth.UNKNOWN,
    }


def test_label_of_a_live_word_is_the_candidates_too() -> None:
    """Another episode has another id; it is the release that was harmless."""
    live = said(asks(1, 0), told(1, "wrong"))
    tried = said(asks(1, 5_000, id="rec_other"))
    found = tally(compare(live, tried))
    assert (found.taken, found.false) == (1, 1)


def test_rollback_by_people_is_a_truth_by_hypercare_is_none() -> None:
    """What we carried out ourselves proves nothing about whether it was right."""
    live = said(asks(1, 0), verdict(1, "regressed", 9, reasons=["rolled_back"]))
    (people,) = compare(live, None).outcomes
    (ours,) = compare(live, None, executed={"rec_1"}).outcomes
    assert people.truth is Truth.HARMFUL
    assert ours.truth is Truth.UNKNOWN


def test_silence_after_lives_rollback_says_nothing() -> None:
    """A candidate can not be blamed for what live had taken away before it spoke."""
    live = said(
        asks(1, 0),
        verdict(1, "regressed", 9, reasons=["rolled_back"]),
        verdict(2, "inconclusive", 10),
        verdict(2, "inconclusive", 99, reasons=["rolled_back"]),
    )
    tried = said(verdict(1, "inconclusive", 5), verdict(2, "inconclusive", 10))
    found = tally(compare(live, tried))
    assert (found.cut_short, found.missed) == (1, 1)
    assert found.seen == 1


def test_deploys_of_a_recording_end_releases() -> None:
    """A deploy record that takes a release back counts as what verdicts say of it."""
    live = said(verdict(1, "inconclusive", 0))
    deploy = {
        "kind": "deploy",
        "ts": T0 + 50,
        "service": "shop",
        "release": "1",
        "phase": "rolled_back",
    }
    (one,) = compare(live, None, ended=said(deploy)).outcomes
    assert one.ended_ms == T0 + 50
    assert one.truth is Truth.HARMFUL


def test_changed_candidate_counts_from_its_change() -> None:
    """Releases that began under an older set of the candidate are left out."""
    tried = said(
        asks(1, 0, rules_hash="old"),
        verdict(1, "regressed", 60, rules_hash="new"),
        verdict(2, "healthy", 70, rules_hash="new"),
    )
    pilot = compare(said(verdict(1, "healthy", 0), verdict(2, "healthy", 70)), tried)
    assert [one.name.release for one in pilot.outcomes] == ["2"]
    assert pilot.before == 1
    assert pilot.hashes == ("old", "new")


def test_copies_drills_and_order_do_not_count() -> None:
    """At least once is what topics give, partition by partition."""
    live = [asks(1, 60_000), verdict(1, "inconclusive", 0), asks(7, 3, test=True)]
    pilot = compare(said(*live, *live), None)
    (one,) = pilot.outcomes
    assert one.take is not None
    assert one.take.at_ms == T0 + 60_000
    assert pilot.begin_ms == T0


@pytest.mark.parametrize(
    "line", [b"nonsense", b'{"a": 1}', b"[1]", b'{"verdict": "no"}']
)
def test_strange_line_is_named(line: bytes) -> None:
    """The error has the file, the line and what would be right."""
    good = json.dumps(asks(1, 0)).encode()
    with pytest.raises(ValueError, match=r"words.jsonl: line 2: .*hypercare replay"):
        heard([good, line], "words.jsonl")


def test_bound_needs_as_many_releases_as_it_says() -> None:
    """299 without a false rollback bound it at 1 per 100; 298 do not."""
    for count, standing in ((298, Standing.OPEN), (299, Standing.MET)):
        pilot = compare(said(*well(count)), None)
        assert tally(pilot).seen == count
        assert standing_of(pilot, "false rollbacks") is standing
    assert more_needed(0, 298, 0.01, 0.95) == 1


def test_more_needed_is_the_least_number() -> None:
    """One fewer would not do, whatever was seen."""
    for hits, of in ((0, 5), (1, 40), (3, 500)):
        more = more_needed(hits, of, 0.01, 0.95)
        assert more is not None
        assert upper(hits, of + more, 0.95) <= 0.01 < upper(hits, of + more - 1, 0.95)


def test_bounds_hold_as_often_as_they_say(rng: np.random.Generator) -> None:
    """Of 4,000 draws the upper bound is below the truth at most at its rate.

    Coverage is at least 0.95 exactly; 4,000 draws show less than 0.93 with a
    probability below 1e-8.
    """
    of, truth = 120, 0.02
    hits = rng.binomial(of, truth, 4_000)
    covered = np.mean([upper(int(k), of, 0.95) >= truth for k in hits])
    assert covered >= 0.93
    assert stats.binom.cdf(int(0.93 * 4_000), 4_000, 0.95) < 1e-7
    assert np.mean([lower(int(k), of, 0.95) <= truth for k in hits]) >= 0.93


def test_false_rollbacks_end_a_pilot() -> None:
    """Far more false ones than allowed refute a candidate, however short it ran."""
    live = said(*well(30))
    tried = said(*well(30), *[asks(n, n * DAY // 20 + 1) for n in range(8)])
    wrong = said(*[told(n, "wrong") for n in range(8)])
    made = checks(compare(live, tried, labels=wrong.labels), Limits())
    assert decide(made) is Decision.NO_GO


def test_much_later_than_live_ends_a_pilot() -> None:
    """A candidate that finds the same ten minutes later is refused for that."""
    live = said(*[asks(n, n) for n in range(9)])
    tried = said(*[asks(n, n + 600_000) for n in range(9)])
    assert standing_of(compare(live, tried), "later than live") is Standing.REFUTED
    lenient = Limits(later_s=900)
    assert standing_of(compare(live, tried), "later than live", lenient) is Standing.MET


def test_missed_harm_ends_a_pilot() -> None:
    """Eight harmful releases, none found: less than half is shown."""
    ended = [verdict(n, "inconclusive", n, reasons=["rolled_back"]) for n in range(8)]
    pilot = compare(said(*ended), None)
    assert tally(pilot).missed == 8
    assert standing_of(pilot, "harmful") is Standing.REFUTED


def test_absent_shadow_is_no_harmless_one() -> None:
    """A candidate that did not run has taken nothing back; that is too early."""
    live = said(*well(400))
    tried = said(*well(400)[:100])
    pilot = compare(live, tried)
    assert standing_of(pilot, "of what live judged") is Standing.OPEN
    assert tally(pilot).unjudged == 300


def test_whole_pilot_goes() -> None:
    """Two weeks, 400 releases, one harm found and labelled: go."""
    harm = [asks(7, 7 * DAY // 20), told(7, "right")]
    live = said(*well(400), *harm)
    pilot = compare(live, said(*well(400), harm[0]))
    assert decide(checks(pilot, Limits())) is Decision.GO
    assert decide(checks(pilot, Limits(days=30))) is Decision.TOO_EARLY


def test_nothing_said_is_too_early() -> None:
    """Empty topics give a page, and no go."""
    pilot = compare(said(), said())
    assert (pilot.outcomes, pilot.begin_ms) == ([], -1)
    assert decide(checks(pilot, Limits())) is Decision.TOO_EARLY
