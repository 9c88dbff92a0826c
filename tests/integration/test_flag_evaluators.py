"""The evaluators that services use read the document of flags as we mean it."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from openfeature.contrib.provider.flagd import FlagdProvider
from openfeature.contrib.provider.flagd.config import ResolverType
from openfeature.evaluation_context import EvaluationContext

from acting.flags import encoded, flag_document, read_flags
from acting.ofrep import evaluate
from acting.switches import Place, Switched
from streams.gate.evaluating import Evaluator
from tests.integration.support import ROOT
from tests.unit.acting.test_flags import off, served

NODE = ROOT / "tests" / "node"
MAIL = {"email": "ada@example.org"}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the evaluator for JavaScript, as its lock file says."""
    if not shutil.which("npm"):
        pytest.skip("node and npm are not installed")
    folder = tmp_path_factory.mktemp("node")
    for path in NODE.iterdir():
        if path.is_file():
            shutil.copy(path, folder)
    command = ["npm", "ci", "--silent", "--no-audit", "--no-fund"]
    subprocess.run(command, cwd=folder, check=True, timeout=120)
    return folder


Context = dict[str, Any]
Asked = list[tuple[str, str, Any]]
"""Flag, kind as JavaScript calls it, the caller's default."""


def in_node(
    node: Path,
    document: dict[str, Any],
    asked: Asked,
    contexts: Sequence[Context] = (MAIL,),
) -> dict[str, Any]:
    """What the evaluator for JavaScript says to each context, one after the other."""
    given = {
        "document": encoded(document).decode(),
        "asked": [[*one, context] for context in contexts for one in asked],
    }
    done = subprocess.run(
        ["node", "evaluate.cjs"],
        cwd=node,
        input=json.dumps(given),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def in_python(
    path: Path,
    document: dict[str, Any],
    asked: Asked,
    contexts: Sequence[Context] = (MAIL,),
) -> list[Any]:
    """What flagd's provider for Python says, in process, with the document as file."""
    path.write_bytes(encoded(document))
    provider = FlagdProvider(
        resolver_type=ResolverType.FILE, offline_flag_source_path=str(path)
    )
    provider.initialize(EvaluationContext("u1", dict(MAIL)))
    ways: dict[str, Any] = {
        "Boolean": provider.resolve_boolean_details,
        "String": provider.resolve_string_details,
    }
    found = []
    try:
        for context in contexts:
            about = EvaluationContext(context.get("targetingKey", "u1"), dict(context))
            found += [ways[kind](key, value, about).value for key, kind, value in asked]
    finally:
        provider.shutdown()
    return found


def over_ofrep(
    document: dict[str, Any], asked: Asked, contexts: Sequence[Context]
) -> list[Any]:
    """What our gates answer, the caller's default where they leave it to the caller."""
    evaluator, found = Evaluator(document), []
    for context in contexts:
        resolve = partial(evaluator.resolve, context=context)
        for key, _, value in asked:
            reply = evaluate(document, key, resolve)
            found.append(reply.body.get("value", value))
    return found


CASES: list[tuple[dict[str, Switched], list[Any]]] = [
    ({}, ["7", True, True]),
    ({"cart": off()}, ["", True, True]),
    ({"cart": off("replace", "6")}, ["6", True, True]),
    ({"search": off()}, ["7", False, True]),
    ({"dark": off()}, ["7", True, False]),
]
"""What is switched, and what a friend gets whose callers fall back to on."""

ASKED: Asked = [("cart", "String", "7"), ("search", "Boolean", True)]
ASKED.append(("dark", "Boolean", True))


@pytest.mark.parametrize(("switched", "values"), CASES)
def test_evaluators_agree(
    node: Path, tmp_path: Path, switched: dict[str, Switched], values: list[Any]
) -> None:
    """Withdrawn, replaced or neither: both give what the document is to say, and take
    it without a complaint."""
    document = served(**switched)
    found = in_node(node, document, ASKED)
    assert (found["refused"], found["said"]) == (None, [])
    assert [answer[0] for answer in found["answers"]] == values
    assert in_python(tmp_path / "flags.json", document, ASKED) == values


def test_bad_default_breaks_another(node: Path) -> None:
    """Why a default variant has to exist: one that does not, and no flag is read."""
    document = served()
    broken = {**document["flags"]["plain"], "defaultVariant": "nix"}
    document["flags"] = {**document["flags"], "plain": broken}
    assert in_node(node, document, ASKED)["refused"]


RULES: dict[str, Any] = {
    "release": {"if": [{"==": [{"var": "release"}, "2.4.0"]}, "off", None]},
    "version": {"if": [{"sem_ver": [{"var": "app_version"}, ">=", "2.4.0"]}, "off"]},
    "caret": {"if": [{"sem_ver": [{"var": "app_version"}, "^", "2.0.0"]}, "off"]},
    "segment": {
        "if": [
            {
                "and": [
                    {"in": [{"var": "region"}, ["eu", "us"]]},
                    {"!": {"var": "beta"}},
                ]
            },
            "off",
            {"if": [{"==": [{"var": "os"}, "android"]}, "on", "off"]},
        ]
    },
    "mail": {
        "if": [
            {
                "or": [
                    {"starts_with": [{"var": "email"}, "ada"]},
                    {"ends_with": [{"var": "email"}, ".org"]},
                ]
            },
            "off",
        ]
    },
    "within": {"if": [{"in": ["example", {"var": "email"}]}, "off"]},
    "shared": {"if": [{"$ref": "android"}, "off", None]},
}
SHARE = {"fractional": [["off", 30], ["on", 70]]}


def targeted(switched: str = "") -> dict[str, Any]:
    """A flag for each rule, on by default, maybe switched off in an environment."""
    flag = {
        "state": "ENABLED",
        "variants": {"on": "on", "off": "off"},
        "defaultVariant": "on",
    }
    place = {"service": "shop", "environment": "*", "withdrawn": "off"}
    flags: dict[str, Any] = {
        name: {**flag, "targeting": rule, "switches": {**place, "component": name}}
        for name, rule in {**RULES, "share": SHARE}.items()
    }
    flags["dark"] = {
        **flag,
        "state": "DISABLED",
        "switches": {**place, "component": "dark"},
    }
    android = {"==": [{"var": "os"}, "android"]}
    text = json.dumps({"flags": flags, "$evaluators": {"android": android}})
    done = Switched("withdraw", None, "", 1)
    where = {Place("shop", switched, name): done for name in flags if switched}
    return flag_document(read_flags(text, "flags.json"), where)


def callers() -> list[Context]:
    """Callers of every kind, some of whom say nothing of themselves.

    All values are of the kind that rules expect: where a text is looked for in a
    number one evaluator says no and another one fails.
    """
    versions = ("2.4.0", "2.3.9", "v2.5", "2.10.0-rc.1", "nonsense")
    found: list[Context] = [
        {
            "targetingKey": f"u{number}",
            "release": ("2.4.0", "2.3.1")[number % 2],
            "app_version": versions[number % 5],
            "os": ("android", "ios")[number % 2],
            "region": ("eu", "us", "ap")[number % 3],
            "beta": number % 4 == 0,
            "email": ("ada@example.com", "bob@x.org", "bob@x.com")[number % 3],
            "environment": ("production", "staging", "test")[number // 2 % 3],
        }
        for number in range(60)
    ]
    return [*found, {}, {"environment": None}, {"os": "android"}]


@pytest.mark.parametrize("switched", ["", "production", "staging"])
def test_targeting_says_the_same_everywhere(
    node: Path, tmp_path: Path, switched: str
) -> None:
    """By release, version, segment or address, withdrawn in one environment or in none:
    OFREP, the provider for Python and the one for JavaScript give the same value."""
    document, people = targeted(switched), callers()
    asked: Asked = [(name, "String", "mine") for name in (*RULES, "dark")]
    ours = over_ofrep(document, asked, people)
    assert len(set(ours)) >= 2
    assert ours == in_python(tmp_path / "flags.json", document, asked, people)
    found = in_node(node, document, asked, people)
    assert found["refused"] is None
    assert ours == [answer[0] for answer in found["answers"]]


def test_shares_say_the_same_in_python(node: Path, tmp_path: Path) -> None:
    """`fractional` puts a caller into the same part as flagd's provider for Python; the
    evaluator for JavaScript still hashes as its version before and puts some into
    another, with the same shares. A withdrawal does not depend on either."""
    people: list[Context] = [{"targetingKey": f"u{number}"} for number in range(1_000)]
    asked: Asked = [("share", "String", "mine")]
    document = targeted()
    ours = over_ofrep(document, asked, people)
    assert ours == in_python(tmp_path / "flags.json", document, asked, people)
    theirs = [a[0] for a in in_node(node, document, asked, people)["answers"]]
    assert ours != theirs, "the hash is one again: say so in docs/flags.md"
    for values in (ours, theirs):
        assert abs(values.count("off") - 300) < 5 * (1_000 * 0.3 * 0.7) ** 0.5
    off_for_all = over_ofrep(targeted("production"), asked, people)
    assert set(off_for_all) == {"off"}
