"""Which of several changes in the same units does the harm?

Where units differ in one change at a time, every candidate's own comparison answers
that, and two faults are two findings. Where changes went to the same units, their
evidence is nearly the same: the one that is ahead by ``LEAD_MIN_NATS`` is blamed, it
owes its lead to what came before it or beside it; else the set is named, and held.
Whoever can not be told from one already blamed is not judged until that one is gone.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from detector.comparing import rivals_of, sole_component
from detector.facts import Facts
from detector.releases import Release
from detector.scope import Scope, Watch

FactsOf = Callable[[list[Watch]], list[Facts]]


def with_rivals(scope: Scope, watch: Watch, facts: Facts, facts_of: FactsOf) -> Facts:
    """The facts of a candidate with who else may have done what it shows.

    Parameters
    ----------
    facts_of : callable
        Gives the facts of other watches as of the same moment. Only called where some
        can not be told apart.

    Examples
    --------
    >>> from detector.scope import Scope, Watch
    >>> with_rivals(Scope("s", "e", 10_000), Watch("2"), "facts", list)
    'facts'
    """
    if not watch.mix.joint:
        return facts
    release = scope.registry.releases[watch.release]
    if release.component is not None and sole_component(scope) != release.number:
        # The past of the service is not the past of one component of several.
        facts = facts._replace(has_past=False, past_ms=-1)
    rivals = rivals_of(scope, watch)
    if rivals.leader is not None:
        leader = (named(scope, rivals.leader),)
        if rivals.pooled:
            return facts._replace(rivals=leader, explained=True)
        # Its failures are compared where the leader plays no part; what it shows
        # beside its past or a plan is not.
        return facts._replace(rivals=leader, findings=())
    if not rivals.names:
        return facts
    lead = inf
    if rivals.pooled:
        others = facts_of([scope.watches[name] for name in rivals.names])
        lead = facts.log_e - max(other.log_e for other in others)
    names = tuple(named(scope, name) for name in rivals.names)
    return facts._replace(rivals=names, lead_log_e=lead)


def named(scope: Scope, name: str) -> str:
    """What people call a candidate, by its name in the registry."""
    release = scope.registry.releases.get(name)
    return name if release is None else title(release)


def title(release: Release) -> str:
    """A release, or a component with its version.

    Examples
    --------
    >>> title(Release("7", 1, 0, component="cart")), title(Release("7", 1, 0))
    ('cart 7', '7')
    """
    shown = release.shown
    return f"{release.component} {shown}" if release.component else shown
