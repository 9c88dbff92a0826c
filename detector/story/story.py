"""What the audit holds of one release, in the order in which it was said."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import msgspec

from detector.audit import Audited, Json, Kind
from detector.verdicts import RecommendationRecord, VerdictRecord

T = TypeVar("T")

_verdict = msgspec.json.Decoder(VerdictRecord)
_revision = msgspec.json.Decoder(RecommendationRecord)


class Story(NamedTuple):
    """All that was said about one release.

    Attributes
    ----------
    about : str
        service/environment/release[/component].
    verdicts : list of VerdictRecord
        In order; not empty unless recommendations are all that is left.
    revisions : list of RecommendationRecord
        Of the recommendation it is about: the one that was named, else the newest.
    others : list of str
        Ids of other recommendations about the same release.
    told : list of dict
        What people told about it or its service, as it was published.
    """

    about: str
    verdicts: list[VerdictRecord]
    revisions: list[RecommendationRecord]
    others: list[str]
    told: list[Json]

    @property
    def newest(self) -> RecommendationRecord | None:
        """The newest revision of its recommendation."""
        return self.revisions[-1] if self.revisions else None

    @property
    def spoken(self) -> VerdictRecord | None:
        """The verdict that counts: the one with which the harm was found, else the
        newest. A later one speaks of what became of it."""
        if self.revisions:
            first = self.revisions[0]
            for verdict in self.verdicts:
                if verdict.recommendation_id == first.id and verdict.evidence:
                    return verdict
        return self.verdicts[-1] if self.verdicts else None

    @property
    def sentence(self) -> str:
        """The newest sentence about it."""
        verdict, newest = self.verdicts[-1:], self.newest
        if newest and (not verdict or newest.decided_at >= verdict[0].decided_at):
            return newest.sentence
        return verdict[0].sentence

    @property
    def onset_ms(self) -> int | None:
        """Since when there is harm; None where none was found."""
        spoken, newest = self.spoken, self.newest
        if spoken is not None and spoken.onset_ms is not None:
            return spoken.onset_ms
        return newest.episode_start_ms if newest else None

    @property
    def rules_hash(self) -> str:
        """Of the rule set that decided."""
        return (self.newest or self.verdicts[-1]).rules_hash

    @property
    def rule(self) -> str:
        """Name of the rule that decided."""
        return (self.newest or self.verdicts[-1]).rule


def story_of(records: Sequence[Audited], chosen: Sequence[Audited]) -> Story:
    """The story of what was chosen from an audit.

    Parameters
    ----------
    records : sequence of Audited
        The whole audit.
    chosen : sequence of Audited
        Revisions of one recommendation, or a verdict.

    Raises
    ------
    ValueError
        A record about the release is of another version of the structure.
    """
    about = chosen[0].about
    own = [r for r in records if r.about == about]
    verdicts = [_read(_verdict, r) for r in own if r.kind is Kind.VERDICT]
    revisions = [_read(_revision, r) for r in own if r.kind is Kind.RECOMMENDATION]
    revisions.sort(key=lambda r: (r.decided_at, r.revision, r.issued_at))
    ids = list(dict.fromkeys(r.id for r in revisions))
    named = chosen[0].body.get("id") if chosen[0].kind is Kind.RECOMMENDATION else None
    wanted = named or (ids[-1] if ids else None)
    return Story(
        about,
        sorted(verdicts, key=lambda v: (v.decided_at, v.window_end)),
        [r for r in revisions if r.id == wanted],
        [one for one in ids if one != wanted],
        [r.body for r in records if _concerns(r, chosen[0], ids)],
    )


def _concerns(record: Audited, chosen: Audited, ids: Sequence[str]) -> bool:
    """Whether a command is about one of the recommendations, or the release."""
    if record.kind is not Kind.COMMAND:
        return False
    said, wanted = record.body, chosen.body
    if said.get("recommendation_id"):
        return said["recommendation_id"] in ids
    if record.service != chosen.service:
        return False
    places = said.get("environment") in (None, wanted.get("environment"))
    return places and said.get("release") in (None, wanted.get("release"))


def _read(decoder: msgspec.json.Decoder[T], record: Audited) -> T:
    try:
        return decoder.decode(record.value)
    except msgspec.ValidationError as error:
        raise ValueError(
            f"{record.place}: {record.kind} of another version: {error}: explain it "
            f"with that version ({record.body.get('code_version', 'not named')})"
        ) from error
