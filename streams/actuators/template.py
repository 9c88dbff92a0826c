"""Texts with ``{{places}}``: names are filled in, nothing is computed.

What stands in a place comes from events, so it is escaped for where it goes: in a URL
everything but letters, digits and ``-._~`` is percent-encoded, in JSON it may stand
inside quotes only, in a header it holds no control character. A place that is not
known is refused when the file is read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping
from enum import StrEnum
from typing import Any
from urllib.parse import quote

from detector.rulefile.errors import Report, nearest
from detector.rulefile.kinds import INVALID, Kind, Schema, Text
from detector.rulefile.yamltree import Node
from detector.verdicts import RecommendationRecord

PLACE = re.compile(r"\{\{ ?([a-z][a-z0-9_]{0,31}) ?\}\}")
HOSTILE = '"\\\n'
"""Sample that breaks a body where a place is not escaped."""

TOLD = (
    "action",
    "target",
    "service",
    "environment",
    "release",
    "component",
    "recommendation",
    "revision",
    "reason",
    "token",
)
"""Places that every receiver knows."""


class Missing(Exception):
    """A place can not be filled for this recommendation; the text says which."""


class Form(StrEnum):
    """Where a text goes."""

    URL = "url"
    HEADER = "header"
    JSON = "json"
    FORM = "form"


def _header(value: str) -> str:
    if not value.isprintable() or not value.isascii():
        return quote(value, safe=" :/@+,;=()")
    return value


ESCAPES: dict[Form, Callable[[str], str]] = {
    Form.URL: lambda value: quote(value, safe=""),
    Form.HEADER: _header,
    Form.JSON: lambda value: json.dumps(value)[1:-1],
    Form.FORM: lambda value: quote(value, safe=""),
}


class Template:
    """A text with places.

    Examples
    --------
    >>> one = Template("https://x.example/{{service}}?to={{ target }}", Form.URL)
    >>> one.places
    ('service', 'target')
    >>> one.fill({"service": "a/b", "target": "1.0+2"})
    'https://x.example/a%2Fb?to=1.0%2B2'
    """

    def __init__(self, text: str, form: Form) -> None:
        self.text, self.form = text, form
        self.places = tuple(PLACE.findall(text))

    def fill(self, values: Mapping[str, str]) -> str:
        """The text with its places filled in and escaped.

        Raises
        ------
        Missing
            If a value is not known.
        """
        escape = ESCAPES[self.form]

        def filled(found: re.Match[str]) -> str:
            value = values.get(found.group(1))
            if value is None:
                raise Missing(f"nothing is known to put into {found.group()}")
            return escape(value)

        return PLACE.sub(filled, self.text)


class TemplateKind(Kind):
    """A text with places of known names.

    Parameters
    ----------
    form : Form
        Where it goes.
    names : collection of str
        What may stand in a place.
    longest : int
        Characters.
    """

    def __init__(
        self, form: Form, names: Collection[str], longest: int = 8_192
    ) -> None:
        self._form, self._names, self._longest = form, tuple(names), longest

    def read(self, node: Node, path: str, report: Report) -> Any:
        """The template, or `INVALID` with the reason reported."""
        text = Text(self._longest).read(node, path, report)
        if text is INVALID:
            return INVALID
        found = Template(text, self._form)
        unknown = [name for name in found.places if name not in self._names]
        for name in unknown:
            message = f"{path}: {{{{{name}}}}} is no known place"
            report.add(node.place, message, nearest(name, self._names))
        problem = None if unknown else _problem(found)
        if problem is not None:
            report.add(node.place, f"{path}: {problem[0]}", problem[1])
        return INVALID if unknown or problem else found

    def schema(self) -> Schema:
        """Text."""
        return {"type": "string", "maxLength": self._longest}

    def words(self) -> str:
        """What to write."""
        return "text with places such as {{service}}"


def _problem(found: Template) -> tuple[str, str] | None:
    """What is wrong with a template beyond the names in it."""
    rest = PLACE.sub("", found.text)
    if "{{" in rest:
        return "{{ that begins no place", "write {{name}}, a blank inside at most"
    if found.form is Form.HEADER and not rest.isprintable():
        return "a header is one line", "remove the line break"
    if found.form is Form.JSON:
        try:
            json.loads(found.fill(dict.fromkeys(found.places, HOSTILE)))
        except ValueError as error:
            hint = 'places stand inside quotes: "{{service}}"'
            return f"not JSON once it is filled in ({error})", hint
    return None


def values_of(
    wanted: RecommendationRecord, token: str, tables: Mapping[str, Mapping[str, str]]
) -> dict[str, str]:
    """What the places hold for a recommendation.

    A table is asked for ``service/component`` first, then for ``service``.
    """
    found = {
        "action": wanted.action.value,
        "service": wanted.service,
        "environment": wanted.environment,
        "release": wanted.release,
        "recommendation": wanted.id,
        "revision": str(wanted.revision),
        "reason": wanted.sentence,
        "token": token,
    }
    if wanted.target is not None:
        found["target"] = wanted.target
    if wanted.component is not None:
        found["component"] = wanted.component
    for name, table in tables.items():
        value = table.get(f"{wanted.service}/{wanted.component}")
        value = value if value is not None else table.get(wanted.service)
        if value is not None:
            found[name] = value
    return found
