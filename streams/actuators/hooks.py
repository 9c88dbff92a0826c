"""Names in `hooks` of rules and recommendations that no receiver has.

Such a name narrows whom a recommendation reaches, to nobody if it stands alone, so it
must be seen: in `act --check`, in the log and as a number.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator

from detector.rulefile import Rule
from detector.verdicts import RecommendationRecord

logger = logging.getLogger(__name__)

REMEMBERED_MAX = 1_000


class UnknownHooks:
    """Counts names that recommendations asked for and no receiver has; says each once.

    Parameters
    ----------
    names : collection of str
        Those of all receivers.
    """

    def __init__(self, names: Collection[str]) -> None:
        self._names = frozenset(names)
        self._seen: dict[tuple[str, str], None] = {}

    def __len__(self) -> int:
        """How many names."""
        return len({name for _, name in self._seen})

    def note(self, asked: RecommendationRecord) -> None:
        """Look at the hooks of a recommendation."""
        for name in asked.hooks or ():
            known = (asked.rule, name)
            is_new = name not in self._names and known not in self._seen
            if is_new and len(self._seen) < REMEMBERED_MAX:
                self._seen[known] = None
                said = (asked.rule, name, asked.id)
                logger.warning(
                    "act.unknown_hook rule=%s hook=%s recommendation=%s: no receiver "
                    "of HYPERCARE_ACTUATORS has that name, so nobody hears under it",
                    *said,
                )


def unknown_hooks(rules: Collection[Rule], names: Collection[str]) -> Iterator[str]:
    """Say which hooks of rules no receiver has, with the fix.

    Examples
    --------
    >>> list(unknown_hooks([Rule(name="pay", hooks=("pager",))], ["pages"]))
    ['rule pay: hook pager: no receiver has that name; there are pages']
    """
    there = f"there are {', '.join(sorted(names))}" if names else "there is none"
    for rule in rules:
        for name in rule.hooks:
            if name not in names:
                asked = f"rule {rule.name}: hook {name}"
                yield f"{asked}: no receiver has that name; {there}"
