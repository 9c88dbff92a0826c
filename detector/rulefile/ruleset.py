"""The rules in force, which of them a release is judged by, and their hash.

The canonical form is JSON: sorted keys, every default written out but those of quiet
keys, sets sorted. Two files with the same meaning have the same canonical form, hence
the same hash.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, is_dataclass
from typing import Any

from detector.rulefile.checks import check_file
from detector.rulefile.errors import Place, Problem, Report, RuleFileError
from detector.rulefile.kinds import INVALID, keys_of
from detector.rulefile.model import BUILT_IN_RULE, Rule, RuleFile
from detector.rulefile.shapes import Struct
from detector.rulefile.yamltree import Entries, Node, from_plain

CANONICAL_MAX_BYTES = 524_288
"""Half of what a record may hold: inside a command every quote is escaped."""

SHRINK_MAX_SHARE = 0.5
_FILE = Struct(RuleFile)


@dataclass(frozen=True, slots=True)
class RuleSet:
    """Rules that are valid together.

    Attributes
    ----------
    version : int
        Version of the file format.
    rules : tuple of Rule
        In the order of the file; the first one that fits a release is its rule.
    hash : str
        SHA-256 of the canonical form, in hex. Comments, formatting, the order of
        keys and defaults that are spelled out do not change it; the order of the
        rules does, because it decides.
    """

    version: int
    rules: tuple[Rule, ...]
    hash: str = field(init=False, compare=False)

    def __post_init__(self) -> None:
        """Compute the hash once; rule sets do not change."""
        digest = hashlib.sha256(self.to_canonical_json()).hexdigest()
        object.__setattr__(self, "hash", digest)

    def rule_for(
        self,
        service: str,
        environment: str,
        component: str | None = None,
        criticality: str | None = None,
    ) -> Rule:
        """Give the first rule that fits, or the built-in one: there is always a rule.

        An unknown component or criticality (None) is fitted only by ``*``.
        """
        for rule in self.rules:
            if rule.matches(service, environment, component, criticality):
                return rule
        return BUILT_IN_RULE

    def to_canonical_json(self) -> bytes:
        """Give the one spelling of this rule set, for the log and the hash."""
        whole = {"version": self.version, "rules": _plain(self.rules)}
        text = json.dumps(
            whole, sort_keys=True, separators=(",", ":"), ensure_ascii=False
        )
        return text.encode()

    @classmethod
    def from_canonical_json(cls, data: bytes) -> RuleSet:
        """Read what ``to_canonical_json`` wrote, as strictly as a rule file.

        Raises
        ------
        RuleFileError
            If it is not JSON or not a valid rule set; places are all 1:1.
        """
        source = "canonical rules"
        try:
            if len(data) > CANONICAL_MAX_BYTES:
                raise ValueError(f"larger than {CANONICAL_MAX_BYTES} bytes")
            node = from_plain(
                json.loads(data, object_pairs_hook=_no_repeats, parse_constant=_refuse)
            )
        except (ValueError, RecursionError) as error:
            hint = "write it with to_canonical_json"
            problem = Problem(source, 1, 1, f"not readable: {error}"[:200], hint=hint)
            raise RuleFileError([problem]) from error
        return build(node, Report(source, ""))


def build(node: Node, report: Report) -> RuleSet:
    """Make a rule set of a tree, or raise ``RuleFileError`` with every problem."""
    file = _FILE.read(node, "", report)
    if file is INVALID or not isinstance(node, Entries):
        raise RuleFileError(report.problems)
    check_file(file, node, report)
    rules = RuleSet(file.version, file.rules)
    if len(rules.to_canonical_json()) > CANONICAL_MAX_BYTES:
        message = "the rule set is too large with its defaults written out"
        report.add(Place(1, 1), message, f"at most {CANONICAL_MAX_BYTES} bytes")
    report.raise_if_any()
    return rules


def check_reload(
    old: RuleSet,
    new: RuleSet,
    *,
    allow_shrink: bool = False,
    source: str = "new rule set",
) -> None:
    """Refuse a reload in which more than half of the rules vanish.

    A rule has vanished when neither its name nor its match is in the new set: to
    rename a rule, or to change what it is for, removes nothing.

    Raises
    ------
    RuleFileError
        Unless ``allow_shrink`` is set.
    """
    names = {rule.name for rule in new.rules}
    matches = {rule.match for rule in new.rules}
    gone = [r.name for r in old.rules if r.name not in names and r.match not in matches]
    if allow_shrink or len(gone) <= SHRINK_MAX_SHARE * len(old.rules):
        return
    shown = ", ".join(gone[:5]) + (", ..." if len(gone) > 5 else "")
    message = f"{len(gone)} of {len(old.rules)} rules would vanish: {shown}"
    hint = "restore them, or say --allow-shrink if this is meant"
    raise RuleFileError([Problem(source, 1, 1, message, hint=hint)])


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {
            name: _plain(getattr(value, name))
            for name, (one, part) in keys_of(type(value)).items()
            if not (one.quiet and getattr(value, name) == part.default)
        }
    if isinstance(value, Mapping):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, tuple):
        return [_plain(part) for part in value]
    return value


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key appears twice")
    return found


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")
