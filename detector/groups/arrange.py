"""Rows put in order: by number, by group, by whether there is anything at all."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from detector.evidence.types import IntArray

_DENSE_MAX = 1 << 16
_SHORT_MAX = 1 << 15

Value = TypeVar("Value")


def present(column: list[Value | None]) -> list[Value | None] | None:
    """The column, None if it is empty."""
    return None if column.count(None) == len(column) else column


def numbered(values: IntArray) -> tuple[IntArray, IntArray]:
    """Distinct values in ascending order, and which of them each value is."""
    low = int(values.min())
    span = int(values.max()) - low + 1
    if span == 1:
        return values[:1], np.zeros(len(values), dtype=np.int64)
    if span > _DENSE_MAX:
        return np.unique(values, return_inverse=True)
    there = np.zeros(span, dtype=np.bool_)
    there[values - low] = True
    found = np.flatnonzero(there)
    number = np.zeros(span, dtype=np.int64)
    number[found] = np.arange(len(found))
    return found + low, number[values - low]


def sorted_by(numbers: IntArray, count: int) -> tuple[IntArray, IntArray]:
    """Places sorted by number, in order within each, and where each number begins."""
    short = numbers.astype(np.int16) if count < _SHORT_MAX else numbers  # radix sort
    order = np.argsort(short, kind="stable")
    begins = np.searchsorted(short[order], np.arange(count, dtype=short.dtype))
    return order, begins


def sizes(begins: IntArray, end: int) -> IntArray:
    """How many places there are from each beginning to the next, or to the end."""
    found: IntArray = np.append(begins[1:], end) - begins
    return found


def split_by(numbers: IntArray, count: int) -> list[IntArray]:
    """Places of each number from 0 to ``count``, in order."""
    if count == 1:
        return [np.arange(len(numbers))]
    order, _ = sorted_by(numbers, count)
    bounds = np.cumsum(np.bincount(numbers, minlength=count))
    return np.split(order, bounds[:-1])


def buckets(
    rows: Sequence[int], keys: Sequence[int], column: Sequence[Value | None]
) -> list[tuple[int, list[Value]]]:
    """Values that are there, in order, by key in the order of first sight."""
    found: defaultdict[int, list[Value]] = defaultdict(list)
    for row, key in zip(rows, keys, strict=True):
        value = column[row]
        if value is not None:
            found[key].append(value)
    return list(found.items())
