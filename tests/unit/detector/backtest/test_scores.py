"""Scores by hand: each outcome, shares, and what differs."""

from __future__ import annotations

from detector.backtest import Label, Part, Told, differences, rows_of, summary_of
from detector.backtest.told import Word

ONSET_MS = 1_800_000_000_000


def verdict(said: str, at_ms: int = ONSET_MS) -> Word:
    return Word(at_ms, said, None, "all", 1.0, (), "")


def asked(at_ms: int, action: str = "rollback", state: str = "open") -> Word:
    return Word(at_ms, action, None, "all", 9.0, (), "", f"rec_{at_ms}", 1, state)


def part(told: dict[str, list[Word]], ended: dict[str, int] | None = None) -> Part:
    releases = [
        Told("shop", "production", name, words, [], (ended or {}).get(name))
        for name, words in told.items()
    ]
    seen = [("production", name) for name in told]
    return Part("shop", releases, seen, 1, 0, 0, 1)


def label(release: str, harmful: bool, onset_ms: int | None = None) -> Label:
    return Label("shop", "production", release, None, harmful, onset_ms)


LABELS = [
    label("found", True, ONSET_MS),
    label("missed", True, ONSET_MS),
    label("early", True, ONSET_MS),
    label("false", False),
    label("well", False),
    label("unknown", True),
]
TOLD = {
    "found": [
        asked(ONSET_MS - 900_000), asked(ONSET_MS + 60_000), verdict("regressed"),
    ],
    "missed": [verdict("inconclusive"), asked(ONSET_MS, state="blocked")],
    "early": [asked(ONSET_MS - 900_000), verdict("healthy")],
    "false": [asked(ONSET_MS), verdict("regressed")],
    "well": [asked(ONSET_MS, "hold"), verdict("no_data")],
    "nobody": [asked(ONSET_MS), verdict("regressed")],
}  # fmt: skip


def test_outcomes_and_figures() -> None:
    """Found, missed, too early, false: each where it belongs, and nowhere else."""
    rows, absent = rows_of([part(TOLD, {"missed": ONSET_MS + 5})], LABELS)
    assert {row.release: row.outcome for row in rows} == {
        "found": "found",
        "missed": "missed",
        "early": "too early",
        "false": "false rollback",
        "well": "left alone",
        "nobody": "taken back",
    }
    assert [one.release for one in absent] == ["unknown"]
    found = summary_of(rows)
    assert found.precision[:2] == (1, 3)
    assert found.recall[:2] == (1, 3)
    assert found.false_rollbacks[:2] == (1, 2)
    assert found.false_recommendations == 3
    assert found.times_to_detect_ms == [60_000]
    assert (found.held.hits, found.undecided.hits, found.no_data.hits) == (1, 1, 1)
    assert found.ended_by_history == 1


def test_unlabelled_may_stand_for_healthy() -> None:
    """Only when told so: then an alarm on one is a false one."""
    rows, _ = rows_of([part(TOLD)], LABELS, unlabelled_healthy=True)
    assert summary_of(rows).false_rollbacks[:2] == (2, 3)


def test_tolerance_of_the_onset() -> None:
    """A decision a little before the onset that somebody wrote down still counts."""
    told = {"found": [asked(ONSET_MS - 60_000)]}
    for tolerance_ms, outcome in ((60_000, "found"), (59_999, "too early")):
        rows, _ = rows_of([part(told)], LABELS[:1], onset_tolerance_ms=tolerance_ms)
        assert rows[0].outcome == outcome


def test_differences() -> None:
    """Another judgement, another time; what is equal is not listed."""
    first, _ = rows_of([part(TOLD)], [])
    changed = TOLD | {
        "false": [asked(ONSET_MS + 1000), verdict("regressed")],
        "nobody": [verdict("healthy")],
    }
    other, _ = rows_of([part(changed)], [])
    found = {one.release: one for one in differences(first, other)}
    assert set(found) == {"false", "nobody"}
    assert found["false"].by_ms == 1000
    assert "rollback" in found["nobody"].before
    assert "healthy" in found["nobody"].after
