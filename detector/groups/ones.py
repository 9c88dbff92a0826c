"""Adding one again and again, in one step and to the same bits."""

from __future__ import annotations

import math

WHOLE_MAX = float(1 << 53)


def plus_ones(value: float, count: int) -> float:
    """What ``value`` becomes when 1.0 is added ``count`` times, for values from 0 on.

    The sum of a fraction and ones is rounded whenever it passes a power of two, and
    rounded twice it can end elsewhere than rounded once. So no step passes two.

    Examples
    --------
    >>> plus_ones(0.1, 3) == 0.1 + 1.0 + 1.0 + 1.0
    True
    """
    if count == 1:
        return value + 1.0
    if value.is_integer():
        return value if value >= WHOLE_MAX else min(value + count, WHOLE_MAX)
    while count > 0:
        power = math.ldexp(1.0, math.frexp(value)[1])  # the first one above
        step = min(count, int(power - value) + 1)
        value += step
        count -= step
    return value
