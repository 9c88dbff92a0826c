"""Files that are read again: not while they are written, and once for each change."""

from __future__ import annotations

from pathlib import Path

from streams.filewatch import FileWatch


def test_change_is_told_once_it_rests(tmp_path: Path) -> None:
    """Two looks in a row have to find the same."""
    path = tmp_path / "a"
    path.write_text("one")
    watch = FileWatch(path)
    assert not watch.changed()
    path.write_text("two, half")
    assert not watch.changed()
    path.write_text("two, and the other half")
    assert [watch.changed() for _ in range(3)] == [False, True, False]


def test_write_while_reading_is_seen(tmp_path: Path) -> None:
    """What was read of a file that has changed since may be half of each."""
    path = tmp_path / "a"
    path.write_text("one")
    watch = FileWatch(path)
    assert watch.stands()
    path.write_text("another")
    assert not watch.stands()


def test_same_file_is_told_again(tmp_path: Path) -> None:
    """For what could not be read: nothing that a look sees changes when it can be."""
    path = tmp_path / "a"
    path.write_text("one")
    watch = FileWatch(path)
    watch.tell_again()
    assert [watch.changed() for _ in range(2)] == [True, False]
