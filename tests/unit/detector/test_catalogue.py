"""The catalogue of signatures: numbers, places, exposure, bounds."""

from __future__ import annotations

import math
from itertools import permutations

import msgspec
import pytest

from detector.catalogue import (
    FORGOTTEN_MAX,
    IDLE_MS,
    OTHER,
    OTHER_NUMBER,
    SIGNATURES_MAX,
    Catalogue,
    CellReading,
    Hits,
    aside_counts,
)

OLD, NEW = 1, 2


def cell(exposure: float, expected: float | None = None, **hits: Hits) -> CellReading:
    """A cell read by users; hits by their number, as ``n1=...``."""
    by_number = {int(name[1:]): each for name, each in hits.items()}
    return CellReading(exposure, expected, "user", by_number)


def test_number_of_name_is_stable() -> None:
    """The same signature keeps its number; another one gets another."""
    catalogue = Catalogue()
    assert [catalogue.number(n, 0) for n in "aba"] == [1, 2, 1]
    assert [catalogue.name(n) for n in (1, 2, 9)] == ["a", "b", OTHER]


def test_first_url_is_kept() -> None:
    """The first sample link of a signature stays."""
    catalogue = Catalogue()
    for url in (None, "first", "second"):
        number = catalogue.number("a", 0, url)
    assert catalogue.entries[number].url == "first"


def test_closing_adds_up() -> None:
    """Windows add units, events and exposure, and the dose of each."""
    catalogue = Catalogue()
    number = catalogue.number("a", 0)
    for end_ms, exposure in ((10, 100.0), (20, 300.0)):
        hits = Hits(lines=1, events=6.0, users=2.0)
        catalogue.close({(NEW, 0): cell(exposure, exposure / 2, n1=hits)}, end_ms)
    place = catalogue.entries[number].places[(NEW, 0)]
    assert (place.units, place.events, place.persons) == (4, 12, 4)
    assert (place.first_ms, place.last_ms, place.windows) == (10, 20, 2)
    assert place.dose == pytest.approx(2 * math.log(50) + 2 * math.log(150))
    ground = catalogue.ground[(NEW, 0)]
    assert (ground.exposure, ground.paired, ground.expected) == (400, 400, 200)
    assert catalogue.entries[number].counts == {NEW: 4}


def test_hit_users_explain_nothing() -> None:
    """Without a split to go by, the exposure for the dose leaves out who was hit."""
    assert cell(100, None, n1=Hits(users=30)).ordinary == 70
    assert cell(100, 60.0, n1=Hits(users=30)).ordinary == 60
    assert cell(30, None, n1=Hits(users=30)).ordinary == 1


def test_place_starts_before_first_hit() -> None:
    """What was before the first hit is known, that window not included."""
    catalogue = Catalogue()
    number = catalogue.number("a", 0)
    catalogue.close({(NEW, 0): cell(100)}, 10)
    catalogue.close({(NEW, 0): cell(70, n1=Hits(users=1))}, 20)
    since = catalogue.entries[number].places[(NEW, 0)].since
    assert (since.exposure, since.windows) == (100, 1)


def test_order_of_cells_is_irrelevant() -> None:
    """A window's cells may come in any order."""
    cells = {
        (NEW, s): cell(10.0 + s, None, n1=Hits(users=0.1 * s, events=s))
        for s in range(3)
    }
    images = set()
    for order in permutations(cells):
        catalogue = Catalogue()
        catalogue.number("a", 0)
        catalogue.close({key: cells[key] for key in order}, 10)
        images.add(msgspec.msgpack.encode(catalogue))
    assert len(images) == 1


def test_catalogue_survives_snapshot() -> None:
    """State is plain types: written and read back it is the same."""
    catalogue = Catalogue()
    catalogue.number("a", 0, "link")
    catalogue.close({(NEW, 0): cell(10, 5.0, n1=Hits(users=1, sketch=None))}, 10)
    image = msgspec.msgpack.encode(catalogue)
    assert msgspec.msgpack.decode(image, type=Catalogue) == catalogue
    before = catalogue.begin(OLD)
    image = msgspec.msgpack.encode(before)
    assert msgspec.msgpack.decode(image, type=type(before)) == before


def test_idle_names_make_room() -> None:
    """A full catalogue forgets the idlest name, and knows it when it is back."""
    catalogue = Catalogue()
    for index in range(SIGNATURES_MAX):
        catalogue.number(f"s{index}", index)
    later = IDLE_MS + SIGNATURES_MAX
    assert catalogue.number("newcomer", later) == SIGNATURES_MAX + 1
    assert "s0" not in catalogue.numbers
    again = catalogue.entries[catalogue.number("s0", later)]
    assert again.known
    assert not catalogue.entries[catalogue.numbers["newcomer"]].known
    assert len(catalogue.entries) == SIGNATURES_MAX


def test_flood_becomes_other() -> None:
    """Many names at once keep their place; the rest counts as other."""
    catalogue = Catalogue()
    numbers = [catalogue.number(f"s{i}", 0) for i in range(SIGNATURES_MAX + 5)]
    assert numbers[-5:] == [OTHER_NUMBER] * 5
    assert catalogue.overflow == 5


def test_memory_of_names_is_bounded() -> None:
    """Names that made room are remembered up to a limit, the newest ones."""
    catalogue = Catalogue()
    for index in range(SIGNATURES_MAX + FORGOTTEN_MAX + 20):
        catalogue.number(f"s{index}", index * (IDLE_MS + 1))
    assert len(catalogue.forgotten) == FORGOTTEN_MAX
    assert len(catalogue.entries) == SIGNATURES_MAX


def test_forgotten_release_leaves_names_known() -> None:
    """What a dropped release has shown is not new in a later one."""
    catalogue = Catalogue()
    number = catalogue.number("a", 0)
    catalogue.close({(OLD, 0): cell(10, n1=Hits(users=1))}, 10)
    catalogue.forget({NEW})
    entry = catalogue.entries[number]
    assert entry.known
    assert not entry.places
    assert not entry.counts
    assert not catalogue.ground


def test_hits_read_by_way() -> None:
    """Each way of counting reads its own number; requests are events."""
    hits = Hits()
    hits.take(5.0, sessions=2.0, users=3.0, session_first=1.0, user_first=4.0)
    ways = ("session", "user", "session_hour", "user_hour", "request")
    assert [hits.units(way) for way in ways] == [2, 3, 1, 4, 5]


def test_persons_fall_back() -> None:
    """Without users the sessions, without sessions the events stand for persons."""
    assert Hits(events=9, sessions=2, users=3).persons == 3
    assert Hits(events=9, sessions=2).persons == 2
    assert Hits(events=9).persons == 9
    assert Hits().persons == 1


def test_unknown_signature_leaves_nothing_aside() -> None:
    """A set-aside number that the cell does not have changes nothing."""
    assert aside_counts({1: Hits(users=2)}, frozenset({7}), "user") == (0, 0)
