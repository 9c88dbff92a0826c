"""Plots as SVG that stands in the page itself."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from streams.errors import Refused


@contextmanager
def figure(width_in: float = 8.0, height_in: float = 3.0) -> Iterator[Any]:
    """A matplotlib figure and its axes, closed at the end.

    Raises
    ------
    Refused
        matplotlib is not installed: it comes with the extra ``reports``.
    """
    try:
        import matplotlib as mpl
    except ImportError as error:
        raise Refused(
            "plots need matplotlib: install hypercare[reports], or leave --html out"
        ) from error
    mpl.use("svg")
    from matplotlib import pyplot

    # Text stays text and ids do not depend on chance: same figures, same bytes.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "hypercare"}):
        made, axes = pyplot.subplots(figsize=(width_in, height_in), layout="tight")
        try:
            yield made, axes
        finally:
            pyplot.close(made)


def svg_of(made: Any) -> str:
    """A figure as an SVG element; call it inside the ``with`` of :func:`figure`."""
    out = io.StringIO()
    made.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    return text[text.index("<svg") :]
