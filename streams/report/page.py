"""A page of notes, tables and pictures from what commands found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

from streams.errors import Refused


@dataclass(frozen=True)
class Note:
    """A paragraph; ``tone`` is plain, good, bad or doubtful."""

    text: str
    tone: str = "plain"


@dataclass(frozen=True)
class Sheet:
    """A table: names of columns and rows of text or numbers."""

    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    caption: str = ""


@dataclass(frozen=True)
class Picture:
    """An SVG from :func:`streams.report.svg_of`, with what it shows in words."""

    svg: str
    caption: str


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it."""

    title: str
    parts: Sequence[Note | Sheet | Picture] = field(default_factory=list)


def render(title: str, sections: Sequence[Section], *, made_by: str) -> str:
    """The page as HTML. All text is escaped; only pictures are taken as they are.

    Parameters
    ----------
    made_by : str
        The command that prints it again.

    Raises
    ------
    Refused
        Jinja2 is not installed: it comes with the extra ``reports``.
    """
    try:
        from jinja2 import Environment, StrictUndefined
    except ImportError as error:
        raise Refused(
            "reports need Jinja2: install hypercare[reports], or leave --html out"
        ) from error
    text = resources.files("streams.report").joinpath("page.html").read_text("utf-8")
    surroundings = Environment(autoescape=True, undefined=StrictUndefined)
    kinds: dict[str, Any] = {
        "kind_of": lambda part: type(part).__name__.lower(),
    }
    made = surroundings.from_string(text, globals=kinds)
    return made.render(title=title, sections=sections, made_by=made_by)
