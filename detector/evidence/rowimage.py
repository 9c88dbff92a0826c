"""Rows as bytes and back, bit for bit: one record a row, all columns beside each other.

Many rows are copied in one call a column, whoever they belong to; the image is cut
between rows as one likes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from detector.evidence.rowstore import Column, RowStore

Layout: TypeAlias = list[tuple[str, str, int]]
"""Name, number format and width of each column; width 0 is one number a row."""


def layout_of(columns: Mapping[str, Column]) -> Layout:
    """How a row of these columns lies in an image.

    Examples
    --------
    >>> layout_of({"page": Column(np.float64, 3, 0.0)})
    [('page', '<f8', 3)]
    """
    return [
        (name, np.dtype(column.kind).newbyteorder("<").str, column.width)
        for name, column in columns.items()
    ]


def record_of(columns: Mapping[str, Column]) -> np.dtype[Any]:
    """One row of these columns as a numpy record."""
    return np.dtype(
        [
            (name, kind, (width,) if width else ())
            for name, kind, width in layout_of(columns)
        ]
    )


def image_of(store: RowStore, rows: ArrayLike) -> NDArray[Any]:
    """Copies of rows, as an array of records."""
    columns = store.extract(rows)
    size = len(next(iter(columns.values())))
    image = np.empty(size, record_of(store.COLUMNS))
    for name, column in columns.items():
        image[name] = column
    return image


def columns_of(image: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """The columns of an image, for ``RowStore.insert``: views, not copies."""
    return {name: image[name] for name in image.dtype.names or ()}
