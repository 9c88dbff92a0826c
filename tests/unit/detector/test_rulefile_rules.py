"""What a valid rule file means: defaults, the rule for a release, hash, reload."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from detector.events import NAME_PATTERN
from detector.rulefile import (
    BUILT_IN_RULE,
    KNOWN_SIGNALS,
    Rule,
    RuleFileError,
    RuleSet,
    check_reload,
    check_text,
    load_rules,
)
from detector.rulefile.match import any_matches, glob_matches
from detector.rulefile.yamltree import TEXT_MAX_BYTES

SHIPPED = Path(__file__).parents[3] / "rules" / "default.yaml"


def rules_of(*rules: str, head: str = "version: 1\n") -> RuleSet:
    """Load rules given in flow style."""
    listed = "".join(f"  - {rule}\n" for rule in rules)
    return load_rules(f"{head}rules:\n{listed}end_of_rules: true\n", source="t.yaml")


def test_rule_needs_only_a_name() -> None:
    """A newcomer's rule is the default rule."""
    rule = rules_of("{name: all}").rules[0]

    assert Rule(name="all") == rule
    assert rule.window_s == 10
    assert rule.grace_s == 20
    assert rule.skew_s == 60
    assert rule.alpha == 0.0025
    assert rule.mode == "recommend"
    assert tuple(rule.signals) == KNOWN_SIGNALS
    assert rule.strata == ()
    assert rule.auto_strata


def test_durations_are_also_milliseconds() -> None:
    """Everything inside counts in milliseconds."""
    text = "{name: a, window_s: 60, grace_s: 5, skew_s: 7, persistence_s: 200}"
    rule = rules_of(text).rules[0]

    found = (rule.window_ms, rule.grace_ms, rule.skew_ms, rule.persistence_ms)
    assert found == (60_000, 5_000, 7_000, 200_000)


def test_persistence_lasts_three_windows() -> None:
    """A long window is never judged on fewer than three of them."""
    assert rules_of("{name: a, window_s: 300}").rules[0].persistence_ms == 900_000


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("shadow", "rollback"), ("recommend", "rollback"), ("auto", "hold")],
)
def test_lost_baseline_default_follows_mode(mode: str, expected: str) -> None:
    """Without a control nothing acts by itself unless the rule says so."""
    rule = rules_of(f"{{name: a, mode: {mode}}}").rules[0]
    assert rule.without_baseline == expected


def test_spelled_out_baseline_beats_mode() -> None:
    """An explicit word of the author is kept."""
    rule = rules_of("{name: a, mode: auto, without_baseline: rollback}").rules[0]
    assert rule.without_baseline == "rollback"


def test_first_fitting_rule_wins() -> None:
    """The order of the file decides, as people read it."""
    rules = rules_of(
        "{name: web-eu, match: {service: web, environment: eu-*}}",
        "{name: web, match: {service: [web, web-*]}}",
        "{name: all}",
    )

    assert rules.rule_for("web", "eu-1").name == "web-eu"
    assert rules.rule_for("web", "us-1").name == "web"
    assert rules.rule_for("web-x", "eu-1").name == "web"
    assert rules.rule_for("shop", "eu-1").name == "all"


def test_unmatched_release_gets_built_in() -> None:
    """There is always a rule, and it says that none fitted."""
    rules = rules_of("{name: web, match: {service: web}}")
    assert rules.rule_for("shop", "production") is BUILT_IN_RULE
    assert RuleSet(1, ()).rule_for("shop", "production") is BUILT_IN_RULE


def test_unknown_component_needs_a_star() -> None:
    """A rule for a component is not for the release as a whole."""
    rules = rules_of(
        "{name: pay, match: {component: pay*}}",
        "{name: crit, match: {criticality: critical}}",
        "{name: all}",
    )

    assert rules.rule_for("shop", "p", "payment").name == "pay"
    assert rules.rule_for("shop", "p", None).name == "all"
    assert rules.rule_for("shop", "p", None, "critical").name == "crit"


def test_tuned_signal_keeps_other_defaults() -> None:
    """A margin of one's own leaves the weight as shipped."""
    signal = rules_of("{name: a, signals: {errors: {margin: 2}}}").rules[0].signals
    assert (signal["errors"].margin, signal["errors"].weight) == (2.0, 1.0)


def test_mobile_sources_are_slow() -> None:
    """The shipped class stays when another one is added."""
    rule = rules_of(
        "{name: a, source_classes: {batch: {service: etl-*, max_delay_h: 5}}}"
    ).rules[0]

    assert rule.slow_delay_h("app", "mobile") == 72
    assert rule.slow_delay_h("etl-1", None) == 5
    assert rule.slow_delay_h("web", "canary") == 0


def test_excluded_release_is_recognised() -> None:
    """Globs name the releases that are never judged."""
    rule = rules_of('{name: a, exclude_releases: ["load-*", "1.10"]}').rules[0]

    assert rule.excludes("load-7")
    assert rule.excludes("1.10")
    assert not rule.excludes("1.1")


def test_shipped_rules_are_valid() -> None:
    """The file in the tree loads, and serves any service."""
    rules = load_rules(SHIPPED.read_bytes(), source="default.yaml")

    assert rules.rule_for("anything", "production").name == "everything-else"
    assert rules.rule_for("anything", "staging-2").name == "test-environments"


def test_shipped_general_rule_is_default() -> None:
    """The values written out in the shipped file are the defaults themselves."""
    written = load_rules(SHIPPED.read_text(encoding="utf-8"), source="d").rules[-1]
    assert Rule(name=written.name, why=written.why) == written


def test_hash_ignores_how_it_is_written() -> None:
    """Comments, key order, quotes, styles and spelled-out defaults mean nothing."""
    short = rules_of("{name: a, alpha: 0.01, match: {service: [x, z]}}")
    long = load_rules(
        """# a comment
rules:
  - alpha: 0.010   # the same number
    match:
      environment: ["*"]
      service: ["z", 'x', x]
    "name": "a"
    window_s: 10
    without_baseline: by_mode
    signals: {errors: {weight: 1, margin: 1.25}}
version: 1
end_of_rules: true
""",
        source="t.yaml",
    )

    assert short == long
    assert short.hash == long.hash


@pytest.mark.parametrize(
    "changed",
    [
        "{name: b}",
        "{name: a, alpha: 0.002}",
        "{name: a, why: x}",
        "{name: a, auto_strata: false}",
    ],
)
def test_hash_changes_with_the_meaning(changed: str) -> None:
    """Another rule has another hash."""
    assert rules_of("{name: a}").hash != rules_of(changed).hash


def test_hash_depends_on_rule_order() -> None:
    """The order decides which rule fits, so it is part of the meaning."""
    one, two = "{name: a, match: {service: a}}", "{name: b, match: {service: b}}"
    assert rules_of(one, two).hash != rules_of(two, one).hash


def test_canonical_form_round_trips() -> None:
    """What the log carries is the same rule set again, byte for byte."""
    rules = load_rules(SHIPPED.read_text(encoding="utf-8"), source="default.yaml")
    data = rules.to_canonical_json()

    again = RuleSet.from_canonical_json(data)

    assert rules == again
    assert rules.hash == again.hash
    assert data == again.to_canonical_json()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"[]",
        b"NaN",
        b'{"version":1,"version":1,"rules":[{"name":"a"}]}',
        b'{"version":1,"rules":[{"name":"a","alpha":NaN}]}',
        b'{"version":1,"rules":[{"name":"a","alpha":1e999}]}',
        b'{"version":1,"rules":[{"name":"a","why":"\\ud800"}]}',
        b'{"version":1,"rules":[{"name":"a","\\ud800":1}]}',
        b'{"version":1,"rules":[{"name":"a","window_s":' + b"9" * 5000 + b"}]}",
        b'{"version":1,"rules":[{"name":"a","window_s":' + b"9" * 4000 + b"}]}",
        b"[" * 100_000,
        b" " * 2_000_000,
    ],
)
def test_bad_canonical_form_is_refused(data: bytes) -> None:
    """Bytes that are no rule set give a message that can be printed."""
    with pytest.raises(RuleFileError) as caught:
        RuleSet.from_canonical_json(data)
    assert str(caught.value).encode()


def test_reload_may_not_lose_most() -> None:
    """A reload in which more than half of the rules vanish needs a word."""
    services = ("a", "b", "c")
    old = rules_of(*(f"{{name: {s}, match: {{service: {s}}}}}" for s in services))
    new = rules_of("{name: a, match: {service: a}}")

    with pytest.raises(RuleFileError, match=r"2 of 3 rules would vanish: b, c"):
        check_reload(old, new)
    check_reload(old, new, allow_shrink=True)
    check_reload(new, old)


def test_half_of_the_rules_may_go() -> None:
    """Exactly half is not more than half."""
    one, two = "{name: a, match: {service: a}}", "{name: b, match: {service: b}}"
    check_reload(rules_of(one, two), rules_of(one))


def test_renamed_rule_has_not_vanished() -> None:
    """A rule is still there under another name, or with another match."""
    old = rules_of("{name: a, match: {service: x}}")
    check_reload(old, rules_of("{name: b, match: {service: x}}"))
    check_reload(old, rules_of("{name: a, match: {service: z}}"))


def test_byte_order_mark_is_ignored() -> None:
    """Editors that write one do not break the file, nor its columns."""
    text = "version: 1\nrules:\n  - name: a\nend_of_rules: true\n"
    assert load_rules("\ufeff" + text, source="t").hash == rules_of("{name: a}").hash
    found = check_text("\ufeff" + text.replace("1", "2"), "t")[0]
    assert (found.line, found.column) == (1, 10)


def test_bytes_beyond_utf8_have_place() -> None:
    """The line and column of the first bad byte are told."""
    found = check_text(b"version: 1\nr\xc3\xa9\xff", "t.yaml")[0]
    assert (found.line, found.column) == (2, 3)


def test_control_character_has_place() -> None:
    """A character YAML does not allow is named, where it stands."""
    found = check_text("version: 1\nrules\x00: 2\n", "t.yaml")[0]
    assert (found.line, found.column) == (2, 6)
    assert "U+0000" in found.message


def test_huge_file_is_refused_unread() -> None:
    """Size is looked at before anything else."""
    (found,) = check_text("x" * (TEXT_MAX_BYTES + 1), "t.yaml")
    assert found.message == "the file is larger than 1048576 bytes"


@pytest.mark.parametrize("bomb", ["[" * 100_000, "- " * 100_000, "{a: " * 100_000])
def test_deep_nesting_is_refused(bomb: str) -> None:
    """Depth ends the reading before the stack does."""
    found = check_text(bomb, "t.yaml")
    assert "nested deeper than 32 levels" in [one.message for one in found]


def test_problem_list_has_an_end() -> None:
    """A hostile file does not fill memory with messages."""
    assert len(check_text("".join(f"k{n}: 1\n" for n in range(2000)), "t.yaml")) == 50


def test_many_long_globs_stay_quick() -> None:
    """The search for rules that never apply gives up on absurd sets, not on time."""
    globs = "*a" * 60
    many = (f'{{name: r{n}, match: {{service: "{globs}{n}"}}}}' for n in range(200))
    assert len(rules_of(*many).rules) == 200


@pytest.mark.parametrize(
    ("pattern", "name", "fits"),
    [
        ("*", "", True),
        ("a*c", "abc", True),
        ("a*c", "ab", False),
        ("a?c", "abc", True),
        ("a?c", "ac", False),
        ("*-web", "shop-web-web", True),
        ("**a", "ba", True),
        ("a.c", "abc", False),
        ("[a]", "a", False),
    ],
)
def test_glob_knows_two_wildcards(pattern: str, name: str, fits: bool) -> None:
    """Only * and ? are special; dots and brackets are themselves."""
    assert glob_matches(pattern, name) is fits


def test_hostile_glob_stays_linear() -> None:
    """Backtracking never explodes: this would take a regex engine years."""
    assert not glob_matches("*a" * 60 + "b", "a" * 120)


def test_absent_name_fits_star_only() -> None:
    """None is not a name that a glob could describe."""
    assert any_matches(("x", "*"), None)
    assert not any_matches(("?*", "x*"), None)


def test_error_prints_every_problem() -> None:
    """The text of the exception is what a person reads in a terminal."""
    with pytest.raises(RuleFileError) as caught:
        rules_of("{name: a, alfa: 1, mode: aut}")

    assert str(caught.value) == (
        "t.yaml:3:15: rules[0].alfa: unknown key\n"
        "      - {name: a, alfa: 1, mode: aut}\n"
        "                  ^^^^\n"
        "    hint: did you mean alpha?\n"
        "t.yaml:3:30: rules[0].mode: 'aut' is not one of the valid words\n"
        "      - {name: a, alfa: 1, mode: aut}\n"
        "                                 ^^^\n"
        "    hint: did you mean auto? valid: shadow, recommend, approve, auto"
    )


def test_rule_names_follow_the_envelope() -> None:
    """A rule's name may stand wherever names of services may."""
    schema = json.loads((SHIPPED.parent / "rules.schema.json").read_text("utf-8"))
    name = schema["properties"]["rules"]["items"]["properties"]["name"]
    assert name["pattern"] == NAME_PATTERN


def test_valid_text_has_no_problems() -> None:
    """An empty list says that the file can be put in force."""
    assert check_text(SHIPPED.read_bytes(), "default.yaml") == []


def test_long_text_is_refused() -> None:
    """Words for people have a limit as well."""
    with pytest.raises(RuleFileError, match="owner: longer than 256 characters"):
        rules_of(f"{{name: a, owner: {'x' * 257}}}")


def test_too_many_classes_are_refused() -> None:
    """A table has a limit, so that state can not grow with a rule file."""
    classes = ", ".join(f"c{n}: {{slow: false}}" for n in range(33))
    with pytest.raises(RuleFileError, match="more than 32 entries"):
        rules_of(f"{{name: a, source_classes: {{{classes}}}}}")


def test_set_must_fit_the_log() -> None:
    """With its defaults written out a rule set still fits one record."""
    many = (
        f"{{name: r{n}, why: {'x' * 1900}, match: {{service: s{n}}}}}"
        for n in range(450)
    )
    with pytest.raises(RuleFileError, match="too large with its defaults"):
        rules_of(*many)


def test_message_holds_no_control_characters() -> None:
    """What a hostile key says to the terminal is not repeated."""
    problems = check_text('version: 1\n"\\e[31m": 2\n', "t.yaml")
    assert any("[31m: unknown key" in found.message for found in problems)
    assert "\x1b" not in "".join(map(str, problems))


def test_cover_is_never_claimed_wrongly() -> None:
    """One character does not stand for a run of them."""
    one = '{name: a, match: {service: "a?"}}'
    many = "{name: b, match: {service: a*}}"
    assert len(rules_of(one, many).rules) == 2
    with pytest.raises(RuleFileError, match="a can never apply"):
        rules_of(many, one)


def test_hash_knows_hooks_only_where_there_are_any() -> None:
    """A key that came later changes no hash of those who do not use it."""
    plain, empty = rules_of("{name: a}"), rules_of("{name: a, hooks: []}")
    named = rules_of("{name: a, hooks: [pager, flag-off, pager]}")

    assert b"hooks" not in plain.to_canonical_json()
    assert plain.hash == empty.hash
    assert named.hash not in (plain.hash, rules_of("{name: a, hooks: pager}").hash)
    assert named.rules[0].hooks == ("flag-off", "pager")
    assert RuleSet.from_canonical_json(named.to_canonical_json()) == named
