"""Counts per stratum since the start, in blocks that double with age.

Where a harm sits and how large it is since it began is asked long after the
windows are gone. Keeping at most ``PER_LEVEL`` blocks of each length answers
for any onset with a relative error of its age below 1/PER_LEVEL, in a few
dozen blocks whatever the length of the watch.
"""

from __future__ import annotations

from msgspec import Struct, field

PER_LEVEL = 6

Counts = tuple[float, float, float, float]
"""(units candidate, bad candidate, units control, bad control)"""


class Block(Struct, array_like=True):
    """Sums over ``[start_ms, end_ms)`` per stratum."""

    start_ms: int
    end_ms: int
    level: int
    strata: dict[int, Counts]


class History(Struct, array_like=True):
    """Blocks in order of time, lengths not growing towards the present."""

    blocks: list[Block] = field(default_factory=list)

    def add(self, start_ms: int, end_ms: int, strata: dict[int, Counts]) -> None:
        """Append one closed window and merge the oldest pairs of full levels."""
        self.blocks.append(Block(start_ms, end_ms, 0, strata))
        level = 0
        while True:
            same = [i for i, b in enumerate(self.blocks) if b.level == level]
            if len(same) <= PER_LEVEL:
                return
            first = same[0]
            old, new = self.blocks[first], self.blocks[first + 1]
            self.blocks[first : first + 2] = [
                Block(old.start_ms, new.end_ms, level + 1, _sum(old, new))
            ]
            level += 1

    def since(self, onset_ms: int) -> dict[int, Counts]:
        """Sums per stratum over the blocks that end after ``onset_ms``."""
        total: dict[int, Counts] = {}
        for block in self.blocks:
            if block.end_ms > onset_ms:
                for stratum, counts in block.strata.items():
                    total[stratum] = _plus(total.get(stratum), counts)
        return total


def _plus(left: Counts | None, right: Counts) -> Counts:
    if left is None:
        return right
    return (
        left[0] + right[0],
        left[1] + right[1],
        left[2] + right[2],
        left[3] + right[3],
    )


def _sum(left: Block, right: Block) -> dict[int, Counts]:
    total = dict(left.strata)
    for stratum, counts in right.strata.items():
        total[stratum] = _plus(total.get(stratum), counts)
    return total
