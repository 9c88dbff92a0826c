"""Is this text a rule set? Either a whole valid one comes out, or every problem."""

from __future__ import annotations

from detector.rulefile.checks import check_end
from detector.rulefile.errors import Problem, Report, RuleFileError
from detector.rulefile.ruleset import RuleSet, build
from detector.rulefile.yamltree import Entries, compose

_BYTE_ORDER_MARK = "\ufeff"


def load_rules(text: str | bytes, *, source: str) -> RuleSet:
    """Read a rule file; all of it is in force afterwards, or nothing.

    Parameters
    ----------
    text : str or bytes
        The file. Bytes must be UTF-8.
    source : str
        Name of the file, for messages only.

    Raises
    ------
    RuleFileError
        With every problem found, each with its place and the fix.

    Examples
    --------
    >>> text = '''
    ... version: 1
    ... rules:
    ...   - name: everything
    ...     alfa: 0.01
    ... end_of_rules: true
    ... '''
    >>> print(check_text(text, "rules.yaml")[0].message)
    rules[0].alfa: unknown key
    >>> load_rules(text.replace("alfa", "alpha"), source="rules.yaml").rules[0].alpha
    0.01
    """
    decoded = _decode(text, source) if isinstance(text, bytes) else text
    decoded = decoded.removeprefix(_BYTE_ORDER_MARK)
    report = Report(source, decoded)
    root = compose(decoded, report)
    if root is None:
        raise RuleFileError(report.problems)
    if isinstance(root, Entries):
        check_end(root, report)
    return build(root, report)


def check_text(text: str | bytes, source: str) -> list[Problem]:
    """List what is wrong with a rule file; empty if it can be put in force."""
    try:
        load_rules(text, source=source)
    except RuleFileError as error:
        return list(error.problems)
    return []


def _decode(data: bytes, source: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        before = data[: error.start].decode()
        line = before.count("\n") + 1
        column = len(before) - (before.rfind("\n") + 1) + 1
        message = f"byte 0x{data[error.start]:02x} is not UTF-8 text"
        hint = "save the file as UTF-8; at its end, the file may be cut off"
        problem = Problem(source, line, column, message, hint=hint)
        raise RuleFileError([problem]) from error
