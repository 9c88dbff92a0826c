"""Reports as one HTML file that needs nothing else: no server, script or network."""

from streams.report.figures import figure, svg_of
from streams.report.page import Note, Picture, Section, Sheet, render

__all__ = ["Note", "Picture", "Section", "Sheet", "figure", "render", "svg_of"]
