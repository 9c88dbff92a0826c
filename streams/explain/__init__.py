"""Why a release was judged as it was: story, evidence over time, what to do next."""

from streams.explain.gather import Found, Sources, gather
from streams.explain.page import sections_of, title_of

__all__ = ["Found", "Sources", "gather", "sections_of", "title_of"]
