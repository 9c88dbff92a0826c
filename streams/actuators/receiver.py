"""What a receiver is: what all kinds have in common, and what a kind has to offer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from detector.verdicts import Action, RecommendationRecord
from streams.actuators.keys import Spec
from streams.actuators.parcel import Parcel, Result
from streams.outgoing import Network, Outgoing

EVERYTHING = ("*",)
ALL = tuple(one.value for one in Action)


@dataclass(frozen=True, slots=True, kw_only=True)
class Receiver:
    """One receiver as the file has it.

    Parameters
    ----------
    name, kind : str
        Its own name, and which program carries out what it is given.
    services, environments, actions : tuple of str
        Globs: what it takes.
    allow : tuple of networks
        Internal networks that it may reach.
    ca_file : Path or None
        Certificate authorities of its servers.
    timeout_s, lease_s : float, int
        Limits of one request, and of a whole action.
    tables : mapping
        Further places of templates, by service or ``service/component``.
    plan : mapping
        What its kind needs.
    """

    name: str
    kind: str = "nothing"
    services: tuple[str, ...] = EVERYTHING
    environments: tuple[str, ...] = EVERYTHING
    actions: tuple[str, ...] = EVERYTHING
    allow: tuple[Network, ...] = ()
    ca_file: Path | None = None
    timeout_s: float = 15.0
    lease_s: int = 120
    tables: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    plan: Mapping[str, Any] = field(default_factory=dict)

    def takes(self, wanted: RecommendationRecord) -> bool:
        """Whether its own filters let a recommendation through."""
        asked = (
            (wanted.service, self.services),
            (wanted.environment, self.environments),
            (wanted.action.value, self.actions),
        )
        return all(
            any(fnmatchcase(value, glob) for glob in globs) for value, globs in asked
        )

    def is_named(self, wanted: RecommendationRecord) -> bool:
        """Whether the rule of a recommendation leaves it to this receiver."""
        return not wanted.hooks or self.name in wanted.hooks

    def outgoing(self) -> Outgoing:
        """A way out of its own."""
        return Outgoing(
            allowed=self.allow, timeout_s=self.timeout_s, ca_file=self.ca_file
        )


class Actuator(Protocol):
    """Carries one delivery out, whatever that is for its kind."""

    def obstacle(self, parcel: Parcel) -> str:
        """Why it could not be tried now, before anything is claimed; "" if it can."""

    async def deliver(self, parcel: Parcel, now_ms: int) -> Result:
        """Make one attempt; problems are results, never exceptions."""

    async def drill(self, parcel: Parcel, now_ms: int) -> Result:
        """All but the last step: tell it, marked as a test, or see if it could act."""

    async def check(self) -> list[str]:
        """What would keep it from working, sending nothing."""

    def close(self) -> None:
        """Let go of what it holds."""


class Context(NamedTuple):
    """What the keys of a kind depend on: variables, and names of the tables."""

    environment: Mapping[str, str]
    tables: tuple[str, ...]


class Kind(NamedTuple):
    """A kind of receiver: the keys of its block, how it is made, whether it acts.

    One that acts takes the lease first, and the file must say for which actions, of
    those that the kind can carry out.
    """

    keys: Callable[[Context], Mapping[str, Spec]]
    make: Callable[[Receiver], Actuator]
    acts: bool = False
    actions: tuple[str, ...] = ALL
