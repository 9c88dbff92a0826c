"""Gives the rule set that ships with Hypercare, from a wheel or a source tree.

``rules/`` is data and no package: a wheel carries it as ``hypercare_rules``,
because a folder named ``rules`` in site-packages belongs to somebody else.
"""

from __future__ import annotations

from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

INSTALLED_NAME = "hypercare_rules"
DEFAULT_RULES = "default.yaml"


def rules_folder() -> Traversable:
    """Say where the shipped rules are: the source tree's own, else the wheel's."""
    root = Path(__file__).resolve().parents[1]
    # An editable install also carries a copy, made when it was installed; what
    # somebody edits in the tree must win over it.
    if (root / "pyproject.toml").is_file() and (root / "rules").is_dir():
        return root / "rules"
    return resources.files(INSTALLED_NAME)


def default_rules_text() -> str:
    """Give the text of the default rule set, as a YAML document."""
    return rules_folder().joinpath(DEFAULT_RULES).read_text(encoding="utf-8")
