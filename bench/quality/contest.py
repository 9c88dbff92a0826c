"""Runs detectors over one case: the product by replay, rivals window by window."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import msgspec

from bench.quality.product import Product
from bench.quality.rivals import RIVALS, Rival
from bench.quality.scoring import Decision, Outcome, Truth, judge
from bench.quality.windows import Event, Feed, Unit, unit_of

PRODUCT = "Hypercare"

_decode = msgspec.json.Decoder(list[dict[str, Any]] | dict[str, Any]).decode


class Case(Protocol):
    """A labelled case: what arrives, in order of arrival, and what is true."""

    @property
    def family(self) -> str:
        """The kind of thing that happens in it."""

    def tell(self) -> tuple[Truth, Iterator[bytes]]:
        """What really happened, and the envelope lines; the same at every call."""


class Tape:
    """The lines of a case, read once for all detectors."""

    def __init__(self, lines: Iterator[bytes]) -> None:
        self.lines = list(lines)

    @cached_property
    def events(self) -> list[Event]:
        """The records of all lines."""
        events: list[Event] = []
        for line in self.lines:
            decoded = _decode(line)
            events += decoded if isinstance(decoded, list) else [decoded]
        return events

    @cached_property
    def unit(self) -> Unit:
        """What rivals count, chosen from the whole case: a gift to them."""
        return unit_of(self.events)


@dataclass(frozen=True)
class Detector:
    """A name and how it decides on the lines of a case."""

    name: str
    decide: Callable[[Tape], list[Decision]]


@dataclass(frozen=True)
class Result:
    """What one detector decided in a case and what that came to."""

    decisions: list[Decision]
    outcome: Outcome


def detectors(only: Sequence[str] = ()) -> list[Detector]:
    """The product and its rivals, or those whose names contain one of the words.

    Raises
    ------
    LookupError
        A word fits no name.
    """
    everyone = [Detector(PRODUCT, by_product)]
    everyone += [Detector(rival.name, _by(rival)) for rival in RIVALS]
    for word in only:
        if not any(_fits(word, d.name) for d in everyone):
            names = ", ".join(d.name for d in everyone)
            raise LookupError(f"no detector is called {word!r}: choose from {names}")
    return [d for d in everyone if not only or any(_fits(w, d.name) for w in only)]


def compare(only: Sequence[str], case: Case) -> list[Result]:
    """Results of the chosen detectors, in their order, on the same lines."""
    truth, lines = case.tell()
    tape = Tape(lines)
    results = []
    for detector in detectors(only):
        decisions = detector.decide(tape)
        results.append(Result(decisions, judge(truth, decisions)))
    return results


def by_product(tape: Tape) -> list[Decision]:
    """Decisions of the product, which reads the lines as they are."""
    return Product().decisions(tape.lines)


def by_rival(make: Callable[[], Rival], tape: Tape) -> list[Decision]:
    """The first decision of a rival on each release of a case."""
    feed = Feed(tape.unit)
    judges: dict[str, Rival] = {}
    found: dict[str, Decision] = {}
    for event in tape.events:
        for history in feed.take(event):
            release = history.release
            if release in found:
                continue
            if release not in judges:
                judges[release] = make()
            if judges[release].look(history):
                found[release] = Decision(event["service"], release, feed.arrival_ms)
    return list(found.values())


def _by(make: Callable[[], Rival]) -> Callable[[Tape], list[Decision]]:
    return lambda tape: by_rival(make, tape)


def _fits(word: str, name: str) -> bool:
    return word.lower() in name.lower()
