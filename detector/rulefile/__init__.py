"""Rule files: strict YAML in, a ``RuleSet`` or every problem with its place out.

``yamltree`` reads the text into a tree with places; ``kinds``, ``shapes``, ``parts``
and ``model`` read the tree into rules; ``checks`` compares keys with each other;
``ruleset`` chooses the rule for a release and hashes. Pure: no files, no clock, no
log. Files are read and written by ``streams`` and ``tools``.
"""

from detector.rulefile.errors import Problem, RuleFileError
from detector.rulefile.loader import check_text, load_rules
from detector.rulefile.model import BUILT_IN_RULE, Rule
from detector.rulefile.parts import KNOWN_SIGNALS
from detector.rulefile.ruleset import RuleSet, check_reload

__all__ = [
    "BUILT_IN_RULE",
    "KNOWN_SIGNALS",
    "Problem",
    "Rule",
    "RuleFileError",
    "RuleSet",
    "check_reload",
    "check_text",
    "load_rules",
]
