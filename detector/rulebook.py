"""The rule set in force in one partition, looked up without work per event."""

from __future__ import annotations

from typing import NamedTuple

from detector.rulefile import Rule, RuleSet

HOUR_MS = 3_600_000


class InForce(NamedTuple):
    """A rule with what is derived from it once."""

    rule: Rule
    limits: tuple[tuple[str, int], ...]
    rules_hash: str
    slow_delay_max_ms: int = 0


class Rulebook:
    """Rule sets by service, with the partition's as the fallback.

    One service can have a set of its own: a recording of several partitions is
    replayed as one, and each service keeps the set its partition had then.
    """

    def __init__(self, rules: RuleSet) -> None:
        self.default = rules
        self.of_service: dict[str, RuleSet] = {}
        self._found: dict[tuple[str, str], InForce] = {}

    def put(self, rules: RuleSet, service: str | None = None) -> None:
        """Put a rule set in force, for all services or for one."""
        if service is None:
            self.default = rules
            self.of_service.clear()
        else:
            self.of_service[service] = rules
        self._found.clear()

    def find(self, service: str, environment: str) -> InForce:
        """The rule of a service in an environment."""
        key = (service, environment)
        found = self._found.get(key)
        if found is None:
            rules = self.of_service.get(service, self.default)
            rule = rules.rule_for(service, environment)
            limits = tuple((s.attr, s.max_values) for s in rule.strata)
            found = self._found[key] = InForce(
                rule, limits, rules.hash, rule.slow_delay_max_h * HOUR_MS
            )
        return found
