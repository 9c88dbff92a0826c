"""The story of one release: what was said about it, and on which evidence."""

from detector.story.course import Point, Watched, points_of
from detector.story.story import Story, story_of

__all__ = ["Point", "Story", "Watched", "points_of", "story_of"]
