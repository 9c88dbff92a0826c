"""Structure of JSON bytes without parsing them: depth, and members of an array."""

from __future__ import annotations

import re

import numpy as np

DEPTH_MAX = 128
_ROUNDS = 12
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_OPEN_CLOSE = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")  # +1 and -1 as int8
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[\]{},]', re.DOTALL)


def is_too_deep(value: bytes) -> bool:
    """Whether objects and arrays nest deeper than 128.

    The JSON decoder ends at the interpreter's recursion limit, which depends on
    the Python version and on the caller's stack. A fixed limit below it keeps
    the answer the same in a live run and in its replay.
    """
    if len(value) < 2 * DEPTH_MAX:
        return False
    # Brackets inside strings only ever make this first look inconclusive or too
    # deep; the second look leaves the strings out and is exact.
    return not _collapses(value) and _depth(value) > DEPTH_MAX


def _collapses(value: bytes) -> bool:
    """Whether removing innermost pairs a few times leaves no bracket."""
    brackets = value.translate(None, _NOT_BRACKETS)
    for _ in range(_ROUNDS):
        if not brackets:
            return True
        brackets = brackets.replace(b"{}", b"").replace(b"[]", b"")
    return not brackets


def _depth(value: bytes) -> int:
    """Greatest depth of nesting, strings left out; 0 for none."""
    brackets = _STRING.sub(b"", value).translate(_OPEN_CLOSE, _NOT_BRACKETS)
    steps = np.frombuffer(brackets, dtype=np.int8)
    return int(np.cumsum(steps, dtype=np.int64).max(initial=0))


def split_array(value: bytes) -> list[bytes]:
    """The members of a JSON array that may be broken, as slices.

    Cuts at the commas of the outer array, whatever is between them: a ``NaN``
    or a half-written last member then costs only itself. What follows the
    array is one more member.
    """
    start = value.index(b"[") + 1
    depth, members = 1, []
    for token in _TOKEN.finditer(value, start):
        mark = token.group()
        if mark == b"," and depth == 1:
            members.append(value[start : token.start()])
            start = token.end()
        elif mark in (b"[", b"{"):
            depth += 1
        elif mark in (b"]", b"}"):
            depth -= 1
            if depth == 0:
                members.append(value[start : token.start()])
                start = token.end()
                break
    if value[start:].strip():
        members.append(value[start:])
    return members
