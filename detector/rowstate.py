"""The rows of all scopes in blocks: whole now and then, in between what changed them.

A scope's rows are written whole (``rows/``) or as the windows since the last time
(``steps/``). Which of the two is decided once a snapshot, by `next_rows`; the
bookkeeping after it takes what was decided.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from detector.blocks import (
    SCOPE_PREFIX,
    STEPS_PREFIX,
    VERSION,
    RowsBlock,
    ScopeBlock,
    StateError,
    StepsBlock,
    block_name,
    encode,
    read_block,
    rows_name,
    steps_name,
)
from detector.evidence.rowimage import (
    Layout,
    columns_of,
    image_of,
    layout_of,
    record_of,
)
from detector.evidence.rows import COLUMNS
from detector.scope import Scope, ScopeKey
from detector.series import Series
from detector.steps import (
    SCOPES_TOGETHER,
    STEPS_MAX,
    RowsWritten,
    Window,
    take_again,
    windows_of,
)

if TYPE_CHECKING:
    from detector.engine import Partition

ROW = record_of(COLUMNS)


def whole_rows(
    partition: Partition, keys: Iterable[ScopeKey]
) -> dict[str, bytes | None]:
    """Blocks of all rows of some scopes, copied in one go."""
    found: dict[str, bytes | None] = {}
    positions = {key: _positions(partition.scopes[key]) for key in keys}
    image = image_of(partition.rows, [row for own in positions.values() for row in own])
    at = 0
    for key, own in positions.items():
        part, at = image[at : at + len(own)].tobytes(), at + len(own)
        if own:
            found[rows_name(key)] = encode(RowsBlock(version=VERSION, image=part))
    return found


def next_rows(partition: Partition, key: ScopeKey) -> RowsWritten:
    """What the topic will hold of a scope's rows when the next snapshot is there."""
    written = partition.rows_written.get(key)
    rewritten, moved = partition.rows.rewritten, partition.turns.moved
    # Rows that come, go or are reset are in there: without any, none has moved.
    if written is None or rewritten or moved:
        positions = _positions(partition.scopes[key])
        if written is None or written.positions != positions:
            return RowsWritten(positions)
        if not (rewritten.isdisjoint(positions) and moved.isdisjoint(positions)):
            return RowsWritten(positions)
    kept = partition.steps.get(key, ())
    windows = written.windows + len(kept)
    if windows > STEPS_MAX:
        return RowsWritten(written.positions)
    if not kept:
        return written
    return RowsWritten(written.positions, written.blocks + 1, windows)


def steps_block(partition: Partition, key: ScopeKey) -> bytes:
    """The windows of a scope since the last snapshot."""
    kept = windows_of(partition.scopes[key], partition.steps[key])
    return encode(StepsBlock(version=VERSION, windows=kept))


def row_names(partition: Partition, key: ScopeKey) -> list[str]:
    """Blocks that hold a scope's rows in the snapshots so far."""
    written = partition.rows_written.get(key)
    if written is None:
        return []
    names = [steps_name(key, number) for number in range(written.blocks)]
    return [rows_name(key), *names] if written.positions else names


def mark_all_rows(partition: Partition) -> None:
    """Remember that the snapshot just taken holds all rows whole."""
    for key, scope in partition.scopes.items():
        # At different ages, or all of them would be due in the same snapshot.
        age = crc32(block_name(key).encode()) % (STEPS_MAX + 1)
        partition.rows_written[key] = RowsWritten(_positions(scope), 0, age)


def write_rows_anew(partition: Partition, key: ScopeKey) -> None:
    """Have the rows of a scope written whole next time."""
    written = partition.rows_written.get(key)
    if written is not None:
        aged = written._replace(windows=STEPS_MAX + 1)
        partition.rows_written[key] = aged


def restore_rows(
    partition: Partition, found: list[ScopeBlock], blocks: Mapping[str, bytes]
) -> None:
    """Put the rows of restored scopes in place, and take the steps since again."""
    steps = _steps_by_scope(blocks)
    count = sum(len(series_of(block.scope)) for block in found)
    partition.rows.reserve(count)
    # A few scopes at a time: what lies between block and row fits the cache, and
    # the memory of the whole is not needed twice.
    for low in range(0, len(found), SCOPES_TOGETHER):
        some = found[low : low + SCOPES_TOGETHER]
        _insert_rows(partition, some, blocks)
        taken = []
        for block in some:
            key = block.scope.key
            numbers = sorted(steps.get(block_name(key).removeprefix(SCOPE_PREFIX), ()))
            read = [_steps(blocks, key, n) for n in numbers]
            windows = [window for one in read for window in one]
            taken.append((block.scope, windows))
            if block.version > 1:  # else there is no block of rows to build upon
                partition.rows_written[key] = RowsWritten(
                    _positions(block.scope), max(numbers, default=-1) + 1, len(windows)
                )
        take_again(taken, partition.rows)
    partition.rows.rewritten.clear()


def _insert_rows(
    partition: Partition, found: list[ScopeBlock], blocks: Mapping[str, bytes]
) -> None:
    """Give the series of scopes rows, as their blocks have them."""
    series = [series_of(block.scope) for block in found]
    images = [
        _image(block, len(own), blocks)
        for block, own in zip(found, series, strict=True)
    ]
    image = np.frombuffer(b"".join(images), ROW)
    rows = partition.rows.insert(columns_of(image)).tolist()
    for one, row in zip((s for own in series for s in own), rows, strict=True):
        one.row = row


def check_layout(layout: Layout, version: int) -> None:
    """Refuse rows of other columns: leaving one out would change verdicts.

    Raises
    ------
    StateError
        With the names of the columns.
    """
    wanted = layout_of(COLUMNS)
    if version > 1 and layout != wanted:
        wrong = {name for name, _, _ in set(layout) ^ set(wanted)}
        names = ", ".join(sorted(wrong)) or "in another order"
        raise StateError(f"columns {names} are unknown, missing or of another form")


def _positions(scope: Scope) -> tuple[int, ...]:
    return tuple([row for watch in scope.watches.values() for row in watch.rows()])


def series_of(scope: Scope) -> list[Series]:
    """All series of a scope, in the order in which their rows are written."""
    return [
        one
        for watch in scope.watches.values()
        for track in watch.tracks.values()
        for one in track.series.series
    ]


def _image(block: ScopeBlock, count: int, blocks: Mapping[str, bytes]) -> bytes:
    """The rows of one scope, one record after the other."""
    key = block.scope.key
    if block.version == 1:
        return _image_of_columns(block_name(key), block.rows, count).tobytes()
    if not count:
        return b""
    name = rows_name(key)
    data = read_block(blocks, name, RowsBlock).image
    if len(data) != count * ROW.itemsize:
        raise StateError(
            f"block {name} holds {len(data)} bytes, {count} rows of {ROW.itemsize} "
            "are expected: rebuild the state"
        )
    return data


def _image_of_columns(name: str, rows: Mapping[str, bytes], count: int) -> NDArray[Any]:
    """The same from version 1."""
    if rows.keys() != COLUMNS.keys():
        wrong = ", ".join(sorted(rows.keys() ^ COLUMNS.keys()))
        raise StateError(f"block {name}: columns {wrong} are unknown or missing")
    image = np.empty(count, ROW)
    for column, spec in COLUMNS.items():
        shape = (count, spec.width) if spec.width else (count,)
        try:
            image[column] = np.frombuffer(rows[column], spec.kind).reshape(shape)
        except ValueError as error:
            raise StateError(f"block {name}, column {column}: {error}") from error
    return image


def _steps_by_scope(blocks: Iterable[str]) -> dict[str, list[int]]:
    """Numbers of the blocks of steps, by what their names have in common."""
    found: dict[str, list[int]] = defaultdict(list)
    for name in blocks:
        if name.startswith(STEPS_PREFIX):
            tail, _, number = name.removeprefix(STEPS_PREFIX).rpartition("/")
            found[tail].append(int(number))
    return found


def _steps(blocks: Mapping[str, bytes], key: ScopeKey, number: int) -> list[Window]:
    return read_block(blocks, steps_name(key, number), StepsBlock).windows
