"""Every word has its sentence, and no sentence holds a number nobody can read."""

from __future__ import annotations

from math import inf

import pytest

from detector.verdicts import Action, ReasonCode, Verdict
from detector.wording import (
    ACTION_WORDS,
    REASON_WORDS,
    clock_text,
    count_text,
    harm_sentence,
    segment_text,
    times_text,
    verdict_sentence,
)


def test_every_word_has_text() -> None:
    """No action and no reason is without words."""
    assert set(ACTION_WORDS) == set(Action)
    assert set(REASON_WORDS) == set(ReasonCode)


@pytest.mark.parametrize("reason", list(ReasonCode))
@pytest.mark.parametrize("verdict", list(Verdict))
def test_sentences_are_complete(verdict: Verdict, reason: ReasonCode) -> None:
    """A verdict's sentence names service, release, verdict and what to do."""
    text = verdict_sentence("shop", "2", verdict.value, (reason,), Action.WATCH)
    assert text.startswith(f"shop 2 is {verdict.value.replace('_', ' ')}: ")
    assert text.endswith(". Keep watching.")


def test_open_interval_is_said() -> None:
    """Without an upper limit the words say so."""
    assert (
        times_text((3.2, 5.0, inf)) == "5 times (95 % interval 3.2 to no upper limit)"
    )


@pytest.mark.parametrize(
    ("target", "ending"),
    [("1", "Roll back to 1."), (None, "a person has to choose one.")],
)
def test_harm_names_the_way_back(target: str | None, ending: str) -> None:
    """The last words of a harm are what to do, with the release to go back to."""
    text = harm_sentence(
        service="shop",
        release="2",
        signal="errors",
        controls=("1", "0"),
        unit="session",
        segment=(("os", "ios"), ("region", "eu")),
        ratio=(2.0, 3.0, 4.0),
        onset_ms=1_795_356_000_000,
        bad=1234.0,
        units=56_789.0,
        excess=800.4,
        action=Action.ROLLBACK,
        target=target,
    )
    assert text.endswith(ending)
    for part in ("1,234 of 56,789", "os=ios, region=eu", "1 and 0", "14:00 UTC", "800"):
        assert part in text


def test_numbers_are_plain() -> None:
    """Counts have separators, times a zone, the whole is everywhere."""
    assert count_text(1234567.4) == "1,234,567"
    assert clock_text(0) == "1970-01-01 00:00 UTC"
    assert segment_text(()) == "everywhere"


def test_what_sessions_get_done_is_said() -> None:
    """The sentence tells the ratio, and what was done where how much was due."""
    text = harm_sentence(
        service="shop",
        release="2",
        signal="actions",
        controls=("1",),
        unit="request",
        segment=(),
        ratio=(0.4, 0.5, 0.6),
        onset_ms=1_795_356_000_000,
        bad=1000.0,
        units=2000.0,
        excess=1000.0,
        action=Action.ROLLBACK,
        target="1",
    )
    for part in ("a session gets 0.5 times", "as on 1,", "1,000 requests ended well"):
        assert part in text
