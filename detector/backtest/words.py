"""What was said about releases and told by people, from lines of several origins.

A line is a record of the topics audit, verdicts or recommendations, a line of
``hypercare replay``, or one of a recorded log; what is none of these says nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec
from msgspec import Struct

from detector.events import EVERY_SERVICE
from detector.people import LABELS
from detector.replay import arrival_ms
from detector.verdicts import Action, ReasonCode, RecommendationState, Verdict

ENDED = frozenset({"rolled_back", "withdrawn", "aborted"})
"""Phases of a deploy that take a release back."""


class Name(NamedTuple):
    """A release of a service in an environment; its components count with it."""

    service: str
    environment: str
    release: str


class Word(Struct, frozen=True, kw_only=True):
    """A verdict, or a revision of a recommendation (``verdict`` is None then).

    ``decided_at`` is the arrival clock in ms; ``rules_hash`` is empty where the line
    does not say it.
    """

    decided_at: int
    service: str
    environment: str
    release: str
    verdict: Verdict | None = None
    action: Action | None = None
    id: str | None = None
    state: RecommendationState | None = None
    mode: str = ""
    rules_hash: str = ""
    reasons: tuple[str, ...] = ()
    test: bool = False

    @property
    def name(self) -> Name:
        """Which release it is about."""
        return Name(self.service, self.environment, self.release)


class Label(NamedTuple):
    """What somebody said a recommendation, or all about a release, was."""

    at_ms: int
    name: Name | None
    recommendation_id: str | None
    label: str


class Ended(NamedTuple):
    """A release was taken back."""

    at_ms: int
    name: Name


class Heard(NamedTuple):
    """All of it, in the order of time."""

    words: list[Word]
    labels: list[Label]
    ended: list[Ended]


class _Command(Struct, frozen=True):
    command: str
    service: str
    environment: str
    at: int
    release: str | None = None
    recommendation_id: str | None = None
    value: str | None = None


class _Event(Struct, frozen=True):
    kind: str
    service: str = ""
    environment: str = "production"
    release: str | None = None
    phase: str = ""
    name: str = ""
    value: str | None = None
    recommendation_id: str | None = None


class _Shape(Struct, frozen=True):
    verdict: str | None = None
    action: str | None = None
    command: str | None = None
    kind: str | None = None


_shape = msgspec.json.Decoder(_Shape | list[_Shape])
_word = msgspec.json.Decoder(Word)
_command = msgspec.json.Decoder(_Command)
_events = msgspec.json.Decoder(_Event | list[_Event])


def heard(lines: Iterable[bytes], source: str) -> Heard:
    """Read lines; copies count once.

    Parameters
    ----------
    lines : iterable of bytes
        JSON lines; a recorded log in order of arrival, the rest in any order.
    source : str
        Their file or topic, for errors.

    Raises
    ------
    ValueError
        A line is none of the kinds above; the text names its place.
    """
    words: dict[Word, None] = {}
    found = Heard([], [], [])
    clock_ms = 0
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            shape = _shape.decode(line)
            if isinstance(shape, list) or shape.kind is not None:
                clock_ms = arrival_ms(line, clock_ms)
                _hear_events(line, clock_ms, found)
            elif shape.command is not None:
                _hear_command(_command.decode(line), found)
            elif shape.verdict or shape.action:
                words[_word.decode(line)] = None
            else:
                raise ValueError("neither a verdict nor a recommendation nor an event")
        except (msgspec.DecodeError, RecursionError, ValueError) as error:
            raise ValueError(
                f"{source}: line {number}: {error}: give lines of `hypercare replay`, "
                "`hypercare record` or of the topic audit"
            ) from error
    # A drill is no release.
    found.words.extend(word for word in words if not word.test)
    found.words.sort(key=lambda word: word.decided_at)
    found.ended.extend(_ended_in(found.words))
    found.labels.sort(key=lambda label: label.at_ms)
    found.ended.sort(key=lambda ended: ended.at_ms)
    return found


def _ended_in(words: Iterable[Word]) -> Iterator[Ended]:
    """What verdicts say of a release that was taken back: the log told the worker."""
    for word in words:
        if word.verdict is not None and ReasonCode.ROLLED_BACK in word.reasons:
            yield Ended(word.decided_at, word.name)


def _hear_events(line: bytes, at_ms: int, found: Heard) -> None:
    told = _events.decode(line)
    for event in told if isinstance(told, list) else [told]:
        if not event.release or event.service == EVERY_SERVICE:
            continue
        name = Name(event.service, event.environment, event.release)
        if event.kind == "deploy" and event.phase in ENDED:
            found.ended.append(Ended(at_ms, name))
        if event.kind == "command" and event.name == "label":
            _hear_label(at_ms, name, event.recommendation_id, event.value, found)


def _hear_command(told: _Command, found: Heard) -> None:
    name = None
    if told.release:
        name = Name(told.service, told.environment, told.release)
    if told.command == "label":
        _hear_label(told.at, name, told.recommendation_id, told.value, found)


def _hear_label(
    at_ms: int, name: Name | None, known_as: str | None, label: str | None, found: Heard
) -> None:
    if label in LABELS:
        found.labels.append(Label(at_ms, name, known_as, label))
