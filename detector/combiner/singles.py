"""Which events a combiner counts: single ones that stand for themselves alone."""

from __future__ import annotations

from detector.events import Error, Usage
from detector.groups import light

Single = light.Light | Usage | Error
"""An event as it was read, the light way or the long one."""


def is_single(event: Usage | Error) -> bool:
    """Whether an event stands for itself alone and says nothing but that."""
    if isinstance(event, Usage):
        more = (event.sessions, event.users, event.outcomes, event.users_sketch)
        if event.previous_session is not None:
            return False
    else:
        more = (event.sessions, event.users, None, event.users_sketch)
    return (
        event.window_s == 0
        and event.count is None
        and not any(part is not None for part in more)
    )


def whole_of(event: Single) -> Usage | Error:
    """The event as the decoder of all events gives it."""
    if isinstance(event, (Usage, Error)):
        return event
    shape = light.shape_of(light.key_of(event))
    if shape is None:
        raise ValueError("an event of an unsound shape is not light")
    return light.full(event, shape)
