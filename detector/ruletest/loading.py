"""A file of tests, whole and valid, or every problem with its place and the fix."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, TypeVar

from detector.rulefile.checks import place_of
from detector.rulefile.errors import Place, Report, RuleFileError, nearest
from detector.rulefile.kinds import INVALID
from detector.rulefile.shapes import Struct
from detector.rulefile.yamltree import Entries, Items, Node, compose
from detector.ruletest.model import Expectation, Input, Test, TestFile
from detector.ruletest.notation import shown_time

_FILE = Struct(TestFile)
Part = TypeVar("Part")


class Loaded(NamedTuple):
    """A file of tests, with the lines of each test and of each of its expectations."""

    source: str
    file: TestFile
    lines: tuple[tuple[int, tuple[int, ...]], ...]


def load_tests(text: str, *, source: str) -> Loaded:
    """Read a file of tests.

    Parameters
    ----------
    source : str
        Name of the file, for messages.

    Raises
    ------
    RuleFileError
        With every problem found.

    Examples
    --------
    >>> from detector.rulefile import RuleFileError
    >>> try:
    ...     load_tests("version: 1\\ntests: [{name: a, inptu: []}]", source="t.yaml")
    ... except RuleFileError as error:
    ...     print(error.problems[-1].message, "-", error.problems[-1].hint)
    tests[0].inptu: unknown key - did you mean input?
    """
    report = Report(source, text)
    if not text.strip():
        hint = "write version and tests as in docs/rules-testing.md"
        report.add(Place(1, 1), "the file is empty", hint)
    root = compose(text, report) if text.strip() else None
    if root is None:
        raise RuleFileError(report.problems)
    file = _FILE.read(root, "", report)
    if file is INVALID or not isinstance(root, Entries):
        raise RuleFileError(report.problems)
    nodes = _items(root.get("tests"))
    for index, (test, node) in enumerate(zip(file.tests, nodes, strict=True)):
        _check_test(test, node, f"tests[{index}]", report)
    report.raise_if_any()
    lines = tuple(
        (node.place.line, tuple(e.place.line for e in _items(_part(node, "expect"))))
        for node in nodes
    )
    return Loaded(source, file, lines)


def _check_test(test: Test, node: Node, path: str, report: Report) -> None:
    if (test.noise != "none") != (test.seed is not None):
        message = f"{path}: {'a seed' if test.seed is None else 'noise'} is missing"
        hint = "noise: poisson and a seed belong together; without both none is drawn"
        report.add(place_of(node, "noise", "seed"), message, hint)
    for index, (given, at) in enumerate(_with(test.input, node, "input")):
        _check_input(given, at, f"{path}.input[{index}]", report)
        if test.noise == "none":
            _check_shares(given, at, f"{path}.input[{index}]", report)
    for index, (wanted, at) in enumerate(_with(test.expect, node, "expect")):
        _check_expectation(wanted, at, f"{path}.expect[{index}]", report)
        _check_release(test, wanted, at, f"{path}.expect[{index}]", report)


def _check_input(given: Input, node: Node, path: str, report: Report) -> None:
    if given.usage is None and given.requests is not None:
        hint = "say how many sessions they belong to, or write them as usage"
        report.add(place_of(node, "requests"), f"{path}: requests without usage", hint)
    told = (given.usage, given.errors, given.latency, given.feedback, given.steps)
    if not any(told):
        hint = "add usage, errors, latency, feedback or steps"
        report.add(node.place, f"{path}: no series", hint)


def _check_shares(given: Input, node: Node, path: str, report: Report) -> None:
    """More failed sessions than sessions: a slip that a test would hide."""
    if given.usage is None:
        return
    for index, bad in enumerate(given.errors or ()):
        units = given.usage[index] if index < len(given.usage) else None
        if bad is not None and units is not None and bad > units:
            message = (
                f"{path}.errors: {bad:g} of {units:g} sessions in interval {index}"
            )
            hint = "errors are sessions that failed: no more of them than usage"
            report.add(place_of(node, "errors"), message, hint)
            return


def _check_expectation(
    wanted: Expectation, node: Node, path: str, report: Report
) -> None:
    kinds = [
        name
        for name, given in (
            ("at", wanted.at is not None),
            ("by", wanted.by is not None),
            ("never", bool(wanted.never)),
        )
        if given
    ]
    if len(kinds) != 1:
        said = " and ".join(kinds) or "neither at, by nor never"
        report.add(node.place, f"{path}: {said}", "write exactly one of at, by, never")
        return
    if wanted.never and (wanted.wanted or wanted.not_before is not None):
        message = f"{path}: never together with what has to be said"
        report.add(node.place, message, "make two expectations of it")
    elif not wanted.never and not wanted.wanted:
        hint = "add verdict, action, segment, reasons or rule"
        report.add(node.place, f"{path}: expects nothing", hint)
    until = wanted.at if wanted.at is not None else wanted.by
    if (
        wanted.not_before is not None
        and until is not None
        and wanted.not_before > until
    ):
        message = f"{path}.not_before: after {shown_time(until)}"
        hint = f"at most {shown_time(until)}"
        report.add(place_of(node, "not_before"), message, hint)


def _check_release(
    test: Test, wanted: Expectation, node: Node, path: str, report: Report
) -> None:
    known = sorted(
        {d.release for d in test.deploys} | {given.release for given in test.input}
    )
    if wanted.release is not None and wanted.release not in known:
        message = f"{path}.release: {wanted.release} is in no deploy and no input"
        report.add(place_of(node, "release"), message, nearest(wanted.release, known))
    if wanted.release is None and not wanted.never and release_of(test) is None:
        message = f"{path}: which release?"
        report.add(node.place, message, f"add release: one of {', '.join(known)}")


def release_of(test: Test) -> str | None:
    """The release that a test is about if it does not say which: the one deployed."""
    names = {deployed.release for deployed in test.deploys}
    return names.pop() if len(names) == 1 else None


def _with(
    parts: tuple[Part, ...], node: Node, name: str
) -> Iterator[tuple[Part, Node]]:
    yield from zip(parts, _items(_part(node, name)), strict=True)


def _part(node: Node, name: str) -> Node | None:
    return node.get(name) if isinstance(node, Entries) else None


def _items(node: Node | None) -> tuple[Node, ...]:
    return node.items if isinstance(node, Items) else ()
