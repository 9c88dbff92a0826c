"""The document of flags: withdrawn means off for everybody, and nothing else moves."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

import pytest
from openfeature.contrib.tools.flagd.core import FlagdCore
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import ParseError

from acting.flagrules import problems_of
from acting.flags import FlagsError, encoded, flag_document, part_of, read_flags
from acting.ofrep import Resolve, Resolved, Unresolved, evaluate, evaluate_all
from acting.switches import Place, Switched

FILE = """\
metadata: {flagSetId: shop}
flags:
  cart:
    state: ENABLED
    variants: {"new": "7", "old": "6", "none": ""}
    defaultVariant: "new"
    targeting: {if: [{in: ["@example.org", {var: email}]}, "new", null]}
    metadata: {team: checkout}
    switches:
      {service: shop, component: cart, withdrawn: "none", versions: {"6": "old"}}
  search:
    state: ENABLED
    variants: {"on": true, "off": false}
    defaultVariant: "on"
    switches: {service: shop, component: search, withdrawn: "off"}
  dark:
    state: DISABLED
    variants: {"on": true, "off": false}
    defaultVariant: "on"
    switches: {service: shop, component: dark, withdrawn: "off"}
  plain:
    state: ENABLED
    variants: {"low": 1, "high": 2}
    defaultVariant: "low"
"""
AT_MS = 1_795_356_000_000
FRIEND = EvaluationContext("u1", {"email": "ada@example.org"})


def off(action: str = "withdraw", target: str | None = None) -> Switched:
    """What was carried out."""
    return Switched(action, target, "rec_a", AT_MS)


def place(component: str, environment: str = "production") -> Place:
    """A component of the shop."""
    return Place("shop", environment, component)


def served(**switched: Switched) -> dict[str, Any]:
    """The document with some components of the shop switched."""
    places = {place(component): done for component, done in switched.items()}
    return flag_document(read_flags(FILE, "flags.yaml"), places)


def core(document: dict[str, Any]) -> FlagdCore:
    """flagd's own evaluator with a document as it is sent."""
    found = FlagdCore()
    found.set_flags(encoded(document).decode())
    return found


def test_without_withdrawal_nothing_changes() -> None:
    """The document is what its owner wrote, without what only we read."""
    document = served()
    assert "switches" not in document["flags"]["cart"]
    assert core(document).resolve_string_value("cart", "x", FRIEND).value == "7"
    assert core(document).resolve_boolean_value("search", False).value is True


def test_withdrawn_is_off_for_everybody() -> None:
    """Off whatever targeting said, and on for the other component."""
    found = core(served(cart=off()))
    told = found.resolve_string_value("cart", "7", FRIEND)
    assert (told.value, told.variant, told.reason) == ("", "none", "STATIC")
    assert found.resolve_boolean_value("search", False).value is True


def test_matching_rule_beats_a_default() -> None:
    """Why targeting is emptied: with it the off variant reaches nobody it matches."""
    document = deepcopy(served())
    document["flags"]["cart"]["defaultVariant"] = "none"
    assert core(document).resolve_string_value("cart", "x", FRIEND).value == "7"


def test_disabled_gives_the_callers_default() -> None:
    """Why a withdrawn flag is enabled: disabled, callers may fall back to on."""
    assert core(served()).resolve_boolean_value("dark", True).value is True
    found = core(served(dark=off())).resolve_boolean_value("dark", True)
    assert found.value is False


@pytest.mark.parametrize(("target", "value"), [("6", "6"), ("5", ""), (None, "")])
def test_replaced_gives_the_version(target: str | None, value: str) -> None:
    """The variant of the last good version; off where the flag knows none for it."""
    found = core(served(cart=off("replace", target)))
    assert found.resolve_string_value("cart", "7", FRIEND).value == value


def test_other_environments_stay_on() -> None:
    """What was withdrawn in staging is withdrawn there."""
    file = read_flags(FILE, "flags.yaml")
    there = {place("search", "staging"): off()}
    assert flag_document(file, there) == flag_document(file, {})


def test_extras_are_metadata_only() -> None:
    """Who switched it stands where evaluators allow it; owners' entries are kept."""
    flag = served(cart=off())["flags"]["cart"]
    assert flag["metadata"] == {
        "team": "checkout",
        "hypercare.action": "withdraw",
        "hypercare.recommendation": "rec_a",
        "hypercare.at_ms": AT_MS,
    }
    assert problems_of(served(cart=off())) == []


def test_unknown_key_breaks_the_evaluator() -> None:
    """Why extras go nowhere else: one unknown key, and every flag is refused."""
    document = deepcopy(served())
    document["flags"]["plain"]["owner"] = "ada"
    assert problems_of(document) != []
    with pytest.raises(ParseError):
        core(document)


def test_same_document_same_bytes() -> None:
    """The order in which keys were written does not show."""
    turned = json.dumps(dict(reversed(json.loads(encoded(served())).items())))
    assert encoded(flag_document(read_flags(turned, "f"), {})) == encoded(served())


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("state: ENABLED", "state: MAYBE", "state: must be ENABLED or DISABLED"),
        (
            'defaultVariant: "low"',
            'defaultVariant: "mid"',
            'no variant is called "mid"',
        ),
        ('defaultVariant: "low"', "defaultVariant: on", "logical value"),
        ('{"low": 1, "high": 2}', '{"low": 1, "high": "2"}', "all of one kind"),
        ('{"low": 1, "high": 2}', "{}", "must name at least one variant"),
        ("{team: checkout}", "{team: [a]}", "must be text, a number, true or false"),
        ("    metadata: {team", "    owner: {team", "unknown key"),
        ("{in: [", "{inn: [", "no operator is called inn"),
        ("{var: email}", '{$ref: "mail"}', '$evaluators has no "mail"'),
        ('withdrawn: "none"', 'withdrawn: "nix"', 'no variant is called "nix"'),
        ('{"6": "old"}', '{"6": "older"}', 'no variant is called "older"'),
        ("component: cart, ", "", "are text, and needed"),
        ("component: cart", "part: cart", "switches.part: unknown key"),
        ("metadata: {flagSetId: shop}", "more: 1", "more: unknown key"),
        (
            "    state: ENABLED",
            "    service: pay\n    state: ENABLED",
            "says it already",
        ),
        ("flags:", "end_of_flags: true\nflags:", "true, as the last key"),
        ("flags:", "flags: []\nother:", "`flags` is missing"),
        ("metadata: {flagSetId", "metadata: &a {flagSetId", "anchors"),
    ],
)
def test_bad_file_says_where(old: str, new: str, said: str) -> None:
    """Nothing that any evaluator would stumble over gets through."""
    assert old in FILE
    with pytest.raises(FlagsError, match=r"flags\.yaml") as error:
        read_flags(FILE.replace(old, new, 1), "flags.yaml")
    assert said in str(error.value)


def test_document_of_flagd_is_a_file() -> None:
    """JSON as flagd reads it is taken as it is."""
    text = encoded(served()).decode()
    assert read_flags(text, "flags.json").document == json.loads(text)


def resolving(document: dict[str, Any]) -> Resolve:
    """The default of every flag; what has targeting fails."""

    def resolve(key: str) -> Resolved:
        if document["flags"][key].get("targeting"):
            raise Unresolved("its targeting gives no variant")
        return Resolved(document["flags"][key].get("defaultVariant"), "STATIC")

    return resolve


@pytest.mark.parametrize(
    ("key", "status", "field", "value"),
    [
        ("search", 200, "value", True),
        ("plain", 200, "variant", "low"),
        ("nix", 404, "errorCode", "FLAG_NOT_FOUND"),
        ("dark", 404, "errorCode", "FLAG_NOT_FOUND"),
        ("cart", 400, "errorCode", "GENERAL"),
    ],
)
def test_single_flags_are_answered(
    key: str, status: int, field: str, value: object
) -> None:
    """In the words of the protocol, a failure of its targeting included."""
    document = served()
    reply = evaluate(document, key, resolving(document))
    assert (reply.status, reply.body["key"], reply.body[field]) == (status, key, value)


def test_withdrawn_flag_has_an_answer() -> None:
    """Its targeting is gone, so it is the same for everybody."""
    document = served(cart=off())
    resolve = resolving(document)
    assert evaluate(document, "cart", resolve).body["value"] == ""
    found = {f["key"]: f for f in evaluate_all(document, resolve).body["flags"]}
    assert list(found) == ["cart", "plain", "search"]


ANYWHERE = FILE.replace("service: shop,", 'service: shop, environment: "*",')


def told(document: dict[str, Any], key: str, default: Any, **context: str) -> Any:
    """What flagd's evaluator says to a caller."""
    found, about = core(document), EvaluationContext("u1", dict(context))
    if isinstance(default, bool):
        return found.resolve_boolean_value(key, default, about).value
    return found.resolve_string_value(key, default, about).value


def test_one_environment_is_switched() -> None:
    """A flag of every environment is off for callers of one, and for others as its
    owner wrote it: default, targeting, disabled; who says nothing is in production."""
    file = read_flags(ANYWHERE, "flags.yaml")
    staging = flag_document(
        file, {place(name, "staging"): off() for name in ("cart", "search", "dark")}
    )
    mail = {"email": "ada@example.org"}
    cases: list[tuple[dict[str, str], list[Any]]] = [
        ({"environment": "staging"}, ["", False, False]),
        ({"environment": "production"}, ["7", True, True]),
        ({}, ["7", True, True]),
    ]
    for there, values in cases:
        assert values == [
            told(staging, "cart", "x", **there, **mail),
            told(staging, "search", True, **there),
            told(staging, "dark", True, **there),
        ]
    assert problems_of(staging) == []
    production = flag_document(file, {place("search"): off()})
    assert told(production, "search", True) is False
    assert told(production, "search", True, environment="production") is False
    assert told(production, "search", True, environment="staging") is True


def test_environments_differ() -> None:
    """Withdrawn in one, replaced in another, each by its own recommendation."""
    file = read_flags(ANYWHERE, "flags.yaml")
    where = {
        place("cart"): off("replace", "6"),
        place("cart", "staging"): Switched("withdraw", None, "", AT_MS),
    }
    document = flag_document(file, where)
    assert told(document, "cart", "x") == "6"
    assert told(document, "cart", "x", environment="staging") == ""
    assert told(document, "cart", "x", environment="test", email="a@example.org") == "7"
    assert document["flags"]["cart"]["metadata"] == {
        "team": "checkout",
        "hypercare.action.production": "replace",
        "hypercare.recommendation.production": "rec_a",
        "hypercare.at_ms.production": AT_MS,
        "hypercare.action.staging": "withdraw",
        "hypercare.at_ms.staging": AT_MS,
    }


def test_part_keeps_the_rules_it_uses() -> None:
    """Shared rules of other people's flags say what these are about."""
    document = deepcopy(served())
    document["$evaluators"] = {
        "a": {"and": [{"$ref": "b"}, {"$ref": "a"}]},
        "b": {"==": [{"var": "os"}, "android"]},
        "c": {"==": [{"var": "os"}, "ios"]},
    }
    document["flags"]["cart"]["targeting"] = {"if": [{"$ref": "a"}, "new", None]}
    document["flags"]["search"]["targeting"] = {"if": [{"$ref": "c"}, "on", None]}
    part = part_of(document, lambda name: name == "cart")
    assert (list(part["flags"]), list(part["$evaluators"])) == (["cart"], ["a", "b"])
    assert part["metadata"] == document["metadata"]


def test_whose_a_flag_is() -> None:
    """That of its switch, or the one it names; others are nobody's."""
    text = FILE.replace("  plain:\n", "  plain:\n    service: pay\n")
    file = read_flags(text + "end_of_flags: true\n", "flags.yaml")
    of_shop = dict.fromkeys(("cart", "search", "dark"), "shop")
    assert file.services == of_shop | {"plain": "pay"}
    assert file.is_marked
    assert problems_of(flag_document(file, {})) == []
    assert "plain" not in read_flags(FILE, "flags.yaml").services
