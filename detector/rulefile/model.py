"""What a rule says: the structures, and with each key its range, default and effect.

The loader, the JSON schema (``rules/rules.schema.json``) and the reference page
(``docs/rules.md``) are all made from these fields; there is no second list.
"""

# ``key`` declares a field as ``dataclasses.field`` does; no value is shared.
# ruff: noqa: RUF009

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from detector.rulefile.checks import (
    BUILT_IN,
    check_hypercare,
    check_ladder,
    check_rule,
)
from detector.rulefile.kinds import (
    GLOB_PATTERN,
    RECEIVER_PATTERN,
    Choice,
    Flag,
    Integer,
    Number,
    Text,
    Word,
    key,
)
from detector.rulefile.match import any_matches
from detector.rulefile.parts import (
    KNOWN_SIGNALS,
    SHIPPED_SIGNALS,
    SHIPPED_SOURCES,
    Hypercare,
    Ladder,
    Match,
    Signal,
    SourceClass,
    Stratum,
)
from detector.rulefile.shapes import Listing, OneOrMany, Struct, Table

Wait = Literal["wait", "hold"]
WithoutBaseline = Literal["by_mode", "rollback", "hold"]
Mode = Literal["shadow", "recommend", "approve", "auto"]

PERSISTENCE_WINDOWS_MIN = 3
RULES_MAX = 500
HOOKS_MAX = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """How the releases that fit ``match`` are judged.

    Every key but ``name`` has a default that serves somebody who never tuned
    anything. Times are available in milliseconds as well (``window_ms``).
    """

    name: str = key(Word(), "Name of the rule; verdicts name it.")
    owner: str = key(
        Text(256),
        "Who tunes the rule and answers for its alarms. Verdicts and "
        "hypercare_release_info name it where the deploy record names no owner.",
        default="",
    )
    why: str = key(
        Text(2000),
        "Why the rule is as it is. hypercare rules explain shows it; verdicts and "
        "recommendations name the rule alone.",
        default="",
    )
    match: Match = key(
        Struct(Match), "Which releases the rule is for.", default=Match()
    )
    exclude_releases: tuple[str, ...] = key(
        OneOrMany(Word(GLOB_PATTERN), most=256, least=0),
        "Releases that are never judged, as globs (load tests, dry runs).",
        default=(),
        tune="More: neither alarms nor detection for releases that fit.",
    )
    window_s: int = key(
        Integer(1, 3600, divides=3600),
        "Length of a comparison window. Windows lie on a grid from the epoch.",
        default=10,
        unit="s",
        tune="Longer: decisions come later, state is smaller; "
        "the bound on false alarms does not depend on it.",
    )
    grace_s: int = key(
        Integer(0, 3600),
        "How long after its end a window waits for late records.",
        default=20,
        unit="s",
        tune="Longer: fewer late records are lost, every decision comes later by it.",
    )
    skew_s: int = key(
        Integer(1, 86_400),
        "How far into the future a record's time may lie before it is refused.",
        default=60,
        unit="s",
        tune="Longer: bad clocks are tolerated, but one can close windows early.",
    )
    strata: tuple[Stratum, ...] = key(
        Listing(Struct(Stratum), most=3, unique="attr"),
        "Attributes within which release and control are compared. Without any, see "
        "auto_strata.",
        default=(),
        tune="More: regressions in a segment are found sooner and a change of the mix "
        "is not taken for one; evidence is spread over more series.",
    )
    auto_strata: bool = key(
        Flag(),
        "Where strata names none: take up to three attributes that usage carries, "
        "first seen first, os, region and route before others.",
        default=True,
        tune="false: everything is compared as one; a change of the mix of users "
        "looks like a change of the release.",
    )
    signals: Mapping[str, Signal] = key(
        Table(Struct(Signal), SHIPPED_SIGNALS, names=KNOWN_SIGNALS),
        "Margins and shares of the signals. One that is not named keeps its "
        "defaults; all of them are described in docs/signals.md.",
        default=SHIPPED_SIGNALS,
    )
    alpha: float = key(
        Number(1e-6, 0.05),
        "Bound on the probability that a harmless release is ever found regressed by "
        "the evidence beside its control; findings have thresholds of their own.",
        default=0.0025,
        unit="probability",
        tune="Smaller: fewer false alarms, later detection. A release is found at "
        "1/alpha of evidence, whose logarithm grows with the bad units.",
    )
    persistence_s: int = key(
        Integer(0, 86_400),
        "Harm must still be there after this time; never less than three windows.",
        default=180,
        unit="s",
        tune="Longer: fewer alarms from blips at a deploy, every decision comes later.",
    )
    min_exposure: int = key(
        Integer(1, 1_000_000_000),
        "Units that each arm needs before the release can be found regressed beside "
        "its control.",
        default=100,
        unit="units",
        tune="Larger: fewer alarms from thin traffic, later detection on it.",
    )
    on_inconclusive: Wait = key(
        Choice(get_args(Wait)),
        "While the evidence says neither: let the rollout go on, or hold it.",
        default="wait",
        tune="hold: harm that is not proven yet spreads to fewer users; good releases "
        "wait until they are healthy. Verdicts and their times stay.",
    )
    on_no_data: Wait = key(
        Choice(get_args(Wait)),
        "While there is too little data: let the rollout go on, or hold it.",
        default="wait",
        tune="hold: nobody meets a release that can not be seen; rollouts without "
        "traffic or telemetry stand still. Verdicts and their times stay.",
    )
    without_baseline: WithoutBaseline = key(
        Choice(get_args(WithoutBaseline)),
        "How far a comparison with the past alone (control history) may go. by_mode: "
        "hold in mode auto, rollback in the others.",
        default="by_mode",
        tune="rollback: quicker help when everything was replaced at once; comparisons "
        "with the past give more false alarms than those with a control.",
    )
    mode: Mode = key(
        Choice(get_args(Mode)),
        "What a recommendation may lead to: nothing (shadow), a message, "
        "an action after approval, or an action.",
        default="recommend",
        tune="auto: help does not wait for people, and a false alarm acts as well. "
        "Verdicts and their times stay.",
    )
    hypercare: Hypercare = key(
        Struct(Hypercare, check_hypercare),
        "How long a release is young, and when it has earned healthy.",
        default=Hypercare(),
    )
    source_classes: Mapping[str, SourceClass] = key(
        Table(Struct(SourceClass), SHIPPED_SOURCES),
        "Sources that report late. Shipped: mobile.",
        default=SHIPPED_SOURCES,
    )
    ladder: Ladder = key(
        Struct(Ladder, check_ladder),
        "Evidence at which the smaller steps are taken.",
        default=Ladder(),
    )
    rollback_window: int = key(
        Integer(1, 20),
        "How many revisions back a rollback may lead. Further back there is no target: "
        "a person is asked.",
        default=3,
        unit="revisions",
        tune="Larger: a target is found more often, but it may not fit what changed "
        "since, such as a database schema.",
    )
    approvals: int = key(
        Integer(1, 5),
        "How many people have to agree where one has to. From two on they are "
        "different people, and none of them deployed the release.",
        default=1,
        unit="people",
        tune="More: no single mistake acts, help comes later.",
    )
    hooks: tuple[str, ...] = key(
        OneOrMany(Word(RECEIVER_PATTERN), most=HOOKS_MAX, least=0),
        "Receivers of hypercare act that hear of this rule's recommendations and may "
        "act on them, as far as their own filters let them. Without any: every "
        "receiver whose filters let it.",
        default=(),
        tune="A receiver that is not named neither hears nor acts. Verdicts and their "
        "times stay.",
        quiet=True,
    )

    def __post_init__(self) -> None:
        """Settle the default that depends on another key."""
        if self.without_baseline == "by_mode":
            settled = "hold" if self.mode == "auto" else "rollback"
            object.__setattr__(self, "without_baseline", settled)

    @property
    def window_ms(self) -> int:
        """Length of a window in milliseconds."""
        return self.window_s * 1000

    @property
    def grace_ms(self) -> int:
        """Wait for late records in milliseconds."""
        return self.grace_s * 1000

    @property
    def skew_ms(self) -> int:
        """Tolerated lead of a record's clock in milliseconds."""
        return self.skew_s * 1000

    @property
    def persistence_ms(self) -> int:
        """Time in milliseconds that harm must last, at least three windows."""
        return 1000 * max(self.persistence_s, PERSISTENCE_WINDOWS_MIN * self.window_s)

    def matches(
        self,
        service: str,
        environment: str,
        component: str | None = None,
        criticality: str | None = None,
    ) -> bool:
        """Whether the rule is for this release."""
        return (
            any_matches(self.match.service, service)
            and any_matches(self.match.environment, environment)
            and any_matches(self.match.component, component)
            and any_matches(self.match.criticality, criticality)
        )

    def excludes(self, release: str) -> bool:
        """Whether the rule says never to judge this release."""
        return any_matches(self.exclude_releases, release)

    @property
    def slow_delay_max_h(self) -> int:
        """Longest wait for late records of any slow source; 0 if there is none."""
        classes = self.source_classes.values()
        return max((c.max_delay_h for c in classes if c.slow), default=0)

    def slow_delay_h(self, service: str, strategy: str | None) -> int:
        """Hours to wait for late records of this source; 0 if it is not slow."""
        delays = (
            found.max_delay_h
            for found in self.source_classes.values()
            if found.slow
            and any_matches(found.service, service)
            and any_matches(found.strategy, strategy)
        )
        return max(delays, default=0)


RULE = Struct(Rule, check_rule)
BUILT_IN_RULE = Rule(name=BUILT_IN, why="No rule of the set fits this release.")


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleFile:
    """The whole file: format, rules, and the mark that it is whole."""

    version: int = key(Integer(1, 1), "Version of the file format.")
    rules: tuple[Rule, ...] = key(
        Listing(RULE, most=RULES_MAX, least=1, unique="name"),
        "The rules. The first one in the file that fits a release is its rule.",
    )
    end_of_rules: bool = key(
        Flag(),
        "Always true, and the last key: a file that was cut off does not have it.",
        # Its absence is reported by the loader, in better words than "is missing".
        default=True,
    )
