"""One value of one rule changed in the text of a file; everything else stays, letter
by letter: comments, order, quotes and the way it is indented."""

from __future__ import annotations

from detector.rulefile.errors import LINE_BREAK, RuleFileError
from detector.rulefile.explaining import rule_nodes
from detector.rulefile.loader import load_rules
from detector.rulefile.meaning import changes_of
from detector.rulefile.yamltree import Entries, Node, Scalar


def with_value(text: str, rule: str, key: str, value: float) -> str | None:
    """The text with another value of a key, or None where that can not be done.

    None if the value is out of range or contradicts another key, or if the text is
    written in a way in which more than the one value would change.

    Parameters
    ----------
    key : str
        Path such as ``alpha`` or ``signals.errors.margin``.

    Examples
    --------
    >>> text = '''version: 1
    ... rules:
    ...   - name: all   # mine
    ... end_of_rules: true
    ... '''
    >>> print(with_value(text, "all", "alpha", 0.001))
    version: 1
    rules:
      - name: all   # mine
        alpha: 0.001
    end_of_rules: true
    <BLANKLINE>
    """
    before = load_rules(text, source="")
    index = next((i for i, r in enumerate(before.rules) if r.name == rule), None)
    if index is None:
        return None
    edited = _edited(text, rule_nodes(text)[index], key.split("."), _written(value))
    if edited is None:
        return None
    try:
        after = load_rules(edited, source="")
    except RuleFileError:
        return None
    others = [r for i, r in enumerate(before.rules) if i != index]
    if others != [r for i, r in enumerate(after.rules) if i != index]:
        return None
    changed = changes_of(before.rules[index], after.rules[index])
    if [(c.key, c.after) for c in changed] != [(key, value)]:
        return None
    return edited


def _written(value: float) -> str:
    """A plain decimal: a rule file takes no exponents."""
    if isinstance(value, int):
        return str(value)
    return f"{value:.12f}".rstrip("0").rstrip(".")


def _edited(text: str, node: Node, path: list[str], value: str) -> str | None:
    """Put the value where its key stands, else write the key where it belongs."""
    for depth, name in enumerate(path):
        if not isinstance(node, Entries):
            return None
        found = node.get(name)
        if found is None:
            return _inserted(text, node, path[depth:], value)
        node = found
    if not isinstance(node, Scalar) or node.quoted:
        return None
    return _replaced(text, node.place.line, node.place.column, len(node.raw), value)


def _inserted(text: str, node: Entries, path: list[str], value: str) -> str | None:
    """Write a key behind the name of the rule, or before the first one elsewhere."""
    name, *inner = path
    for part in reversed(inner):
        value = f"{{{part}: {value}}}"
    start = _offset(text, node.place.line, node.place.column)
    if text[start] == "{":
        if not node.entries:
            return f"{text[: start + 1]}{name}: {value}{text[start + 1 :]}"
        named = node.entries[0]
        at = _end_of(text, named[1]) if named[0].raw == "name" else None
        if at is not None:
            return f"{text[:at]}, {name}: {value}{text[at:]}"
        return f"{text[: start + 1]}{name}: {value}, {text[start + 1 :]}"
    key, first = node.entries[0]
    indent = " " * (key.place.column - 1)
    if key.raw == "name" and isinstance(first, Scalar):
        ends = text.find("\n", _offset(text, first.place.line, first.place.column))
        if ends < 0:
            return None
        return f"{text[: ends + 1]}{indent}{name}: {value}\n{text[ends + 1 :]}"
    at = _offset(text, key.place.line, key.place.column)
    return f"{text[:at]}{name}: {value}\n{indent}{text[at:]}"


def _end_of(text: str, node: Node) -> int | None:
    if not isinstance(node, Scalar) or "\n" in node.raw:
        return None
    at = _offset(text, node.place.line, node.place.column)
    written = node.place.width
    return at + written


def _replaced(text: str, line: int, column: int, width: int, value: str) -> str:
    at = _offset(text, line, column)
    return f"{text[:at]}{value}{text[at + width :]}"


def _offset(text: str, line: int, column: int) -> int:
    """Place in the text of a line and column, counted from 1."""
    breaks = [0, *(found.end() for found in LINE_BREAK.finditer(text))]
    return breaks[line - 1] + column - 1
