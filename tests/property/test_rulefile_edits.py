"""Whatever happens to a rule file: a whole valid set, or an error with a place."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from detector.rulefile import RuleFileError, RuleSet, load_rules

SHIPPED = Path(__file__).parents[2] / "rules" / "default.yaml"
EDITS = 1000
SEED = 20_240_611

# Every kind of value and style, so that cuts and edits meet all of them.
FULL = """\
# comment
"version": 1
rules:
- name: 'web'
  owner: "team \\u00e9"
  why: |
    two lines
    end_of_rules: true
  match: {service: [web, "web-*"], environment: production,
          component: "*", criticality: [high, critical]}
  exclude_releases: ["1.10", "load-?"]
  window_s: 60
  strata:
  - attr: os
  - {attr: region, max_values: 8}
  signals:
    errors: {margin: 1.5, weight: 2.5e-1}
  source_classes: {batch: {service: etl, slow: true, max_delay_h: 6}}
  hypercare: {min_hours: 0.5, min_exposure: 10, max_days: 2}
  ladder: {watch_e: 20, hold_e: 200}
  mode: auto
- name: rest   # end_of_rules: true
  alpha: 0.001
end_of_rules: true   # last
# after the end
...
"""
FLOW = '{"version": 1, "rules": [{"name": "a", "alpha": 0.01}], "end_of_rules": true}\n'
SOURCES = {
    "shipped": SHIPPED.read_text(encoding="utf-8"),
    "full": FULL,
    "flow": FLOW,
    "windows": FULL.replace("\n", "\r\n"),
}
CHARACTERS = "abz:-#*&!%@`\"'[]{},|>?~=<\\\t\n \r019.eEx_+\u2028\x85\x00\ud800\ufeffé"
FRAGMENTS = (
    '"\\UFFFFFFFF"',
    '"\\ud800"',
    "%YAML 9." + "9" * 5000 + "\n",
    "%TAG ! x\n",
    "!!python/object:os ",
    "!<%ff> ",
    "&a ",
    "*a ",
    "<<: ",
    "? ",
    "- ",
    "\n---\n",
    "\n...\n",
    "|99\n",
    ">-\n",
    "1e3",
    "0123",
    "end_of_rules: true\n",
    "[" * 40,
)


def outcome(text: str | bytes) -> RuleSet | RuleFileError:
    """Load, and let nothing but a ``RuleFileError`` with places pass."""
    try:
        return load_rules(text, source="rules.yaml")
    except RuleFileError as error:
        refused = error
    assert refused.problems
    assert all(found.line >= 1 and found.column >= 1 for found in refused.problems)
    assert all(found.message for found in refused.problems)
    assert str(refused).encode()
    return refused


def edited(text: str, chance: random.Random) -> str:
    """Change a text as a hand, a merge or a broken disk would."""
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(text) + 1)
        lines = text.split("\n")
        one, two = chance.randrange(len(lines)), chance.randrange(len(lines))
        match chance.randrange(7):
            case 0:
                text = text[:at] + chance.choice(CHARACTERS) + text[at:]
            case 1:
                text = text[:at] + text[at + chance.randint(1, 6) :]
            case 2:
                text = text[:at] + chance.choice(CHARACTERS) + text[at + 1 :]
            case 3:
                lines[one], lines[two] = lines[two], lines[one]
                text = "\n".join(lines)
            case 4:
                lines.insert(two, lines[one])
                text = "\n".join(lines)
            case 5:
                text = text[:at] + chance.choice(FRAGMENTS) + text[at:]
            case _:
                text = text[:at]
    return text


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_no_prefix_is_another_set(name: str) -> None:
    """Cut off after any byte, a file is refused or means what the whole means."""
    data = SOURCES[name].encode()
    whole = load_rules(data, source=name)

    for length in range(len(data)):
        found = outcome(data[:length])
        if isinstance(found, RuleSet):
            assert whole == found, f"the first {length} bytes mean something else"


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_random_edit_loads_or_explains(name: str) -> None:
    """No edit breaks the loader, and what loads survives its canonical form.

    The edits are seeded: a correct program never fails this.
    """
    chance = random.Random(f"{SEED} {name}")
    loaded = 0
    for _ in range(EDITS):
        found = outcome(edited(SOURCES[name], chance))
        if isinstance(found, RuleSet):
            loaded += 1
            assert RuleSet.from_canonical_json(found.to_canonical_json()) == found
    # Edits in comments are harmless and others are not: both must have happened.
    assert 0 < loaded < EDITS


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_canonical_prefix_is_refused(name: str) -> None:
    """The form in the log has no prefix that loads either."""
    data = load_rules(SOURCES[name], source=name).to_canonical_json()
    for length in range(len(data)):
        with pytest.raises(RuleFileError):
            RuleSet.from_canonical_json(data[:length])
