"""Whether bytes are a whole HLL sketch, decided before native code reads them.

``datasketches`` trusts some counts in the image: a list that claims more
entries than it holds makes it write past its buffer and ends the process, and a
table size in the image is allocated as it stands. So the layout is checked here
first: lengths, modes and counts must agree exactly.

References
----------
Apache DataSketches, HLL sketch preamble (``PreambleUtil``, serial version 1).
"""

from __future__ import annotations

import binascii
import math
import struct

import numpy as np
from datasketches import hll_sketch

LG_K_MIN = 4
LG_K_MAX = 16
SKETCH_CHARS_MAX = 131_072
_ESTIMATE_MAX = 1e12
_FAMILY, _SERIAL = 7, 1
_LIST, _SET, _HLL = 0, 1, 2
_EMPTY, _COMPACT = 4, 8
_LIST_SIZE = 8
_LG_SET_MIN = 5
_KEY_BITS = 26
_VALUE_MAX = 63
_EXCEPTION = 15
# Size of the table of exceptions that a 4-bit sketch starts with, by lg_k.
_LG_TABLES = (0, 2, 2, 2, 2, 2, 2, 3, 3, 3, 4, 4, 5, 5, 6, 7, 8)


def sketch_image(text: str) -> bytes | None:
    """The bytes of a base64 HLL sketch that is safe to read, else None.

    Parameters
    ----------
    text : str
        Standard base64 with padding. ``lg_k`` may be 4..16: one of 16 is
        accurate to .4 %, and one of 21 would take 2 MB for every cell.
    """
    if len(text) > SKETCH_CHARS_MAX:
        return None
    try:
        image = binascii.a2b_base64(text, strict_mode=True)
    except ValueError:  # binascii.Error, or characters outside ASCII
        return None
    if not _is_whole(image):
        return None
    try:
        estimate = hll_sketch.deserialize(image).get_estimate()
    except (ValueError, RuntimeError, IndexError):
        return None
    return image if 0.0 <= estimate <= _ESTIMATE_MAX else None


def _is_whole(image: bytes) -> bool:
    """Whether the preamble is valid and its counts fit the length."""
    if len(image) < 8:
        return False
    preamble, serial, family, lg_k = image[:4]
    if serial != _SERIAL or family != _FAMILY or not LG_K_MIN <= lg_k <= LG_K_MAX:
        return False
    mode, target = image[7] & 3, (image[7] >> 2) & 3
    if target > 2 or image[7] >> 4:
        return False
    if mode == _LIST:
        return preamble == 2 and _list_fits(image)
    if mode == _SET:
        return preamble == 3 and len(image) >= 12 and _set_fits(image, lg_k)
    return mode == _HLL and preamble == 10 and _array_fits(image, lg_k, target)


def _list_fits(image: bytes) -> bool:
    """List mode: up to 7 coupons after 8 bytes."""
    flags, count = image[5], image[6]
    if flags & _EMPTY:
        return count == 0 and len(image) in (8, 8 + 4 * _LIST_SIZE)
    size = count if flags & _COMPACT else _LIST_SIZE
    return (
        count < _LIST_SIZE
        and len(image) == 8 + 4 * size
        and _coupons(image[8:], count, compact=bool(flags & _COMPACT))
    )


def _set_fits(image: bytes, lg_k: int) -> bool:
    """Set mode: a hash table at most three quarters full, after 12 bytes."""
    compact = bool(image[5] & _COMPACT)
    lg_size, (count,) = image[4], struct.unpack_from("<I", image, 8)
    lg_max = lg_k - 3
    if compact and lg_size < _LG_SET_MIN:
        lg_size = lg_max  # senders may leave it out; the reader derives it
    if not _LG_SET_MIN <= lg_size <= lg_max or 4 * count > 3 << lg_size:
        return False
    size = count if compact else 1 << lg_size
    return len(image) == 12 + 4 * size and _coupons(image[12:], count, compact=compact)


def _coupons(body: bytes, count: int, *, compact: bool) -> bool:
    """Whether the table holds ``count`` distinct coupons, none of them empty."""
    values = np.frombuffer(body, dtype="<u4")
    filled = values[values != 0]
    if len(filled) != count or (compact and len(values) != count):
        return False
    return bool(np.all(filled >> _KEY_BITS)) and len(np.unique(filled)) == count


def _array_fits(image: bytes, lg_k: int, target: int) -> bool:
    """HLL mode: 40 bytes, the registers, and for 4 bits the exceptions."""
    if len(image) < 40:
        return False
    sums = struct.unpack_from("<3d", image, 8)
    at_minimum, exceptions = struct.unpack_from("<2I", image, 32)
    if not all(map(math.isfinite, sums)) or min(sums) < 0.0 or at_minimum > 1 << lg_k:
        return False
    if image[6] > _VALUE_MAX:
        return False
    if target == 0:
        return _exceptions_fit(image, lg_k, exceptions)
    size = 1 << lg_k if target == 2 else 3 * (1 << lg_k) // 4 + 1
    if exceptions or len(image) != 40 + size:
        return False
    registers = np.frombuffer(image[40:], dtype=np.uint8)
    return target == 1 or bool(registers.max() <= _VALUE_MAX)


def _exceptions_fit(image: bytes, lg_k: int, exceptions: int) -> bool:
    """4-bit registers: each 15 has its value in the table, and nothing else has.

    A register of 15 without an entry makes a union read through a null pointer.
    """
    end = 40 + (1 << (lg_k - 1))
    lg_table = image[4]
    if image[5] & _COMPACT:
        sizes = {exceptions}
    elif exceptions:
        sizes = {1 << lg_table} if lg_table <= lg_k else set()
    else:
        sizes = {0, 1 << _LG_TABLES[lg_k]}
    if exceptions > 1 << lg_k or (len(image) - end) / 4 not in sizes:
        return False
    pairs = np.frombuffer(image[40:end], dtype=np.uint8)
    registers = np.stack((pairs & 15, pairs >> 4), axis=1).ravel()
    table = np.frombuffer(image[end:], dtype="<u4")
    table = table[table != 0]
    marked = np.flatnonzero(registers == _EXCEPTION)
    named = np.sort(table & ((1 << _KEY_BITS) - 1))
    high = bool(np.all((table >> _KEY_BITS) >= image[6] + _EXCEPTION))
    return len(table) == exceptions and high and np.array_equal(marked, named)
