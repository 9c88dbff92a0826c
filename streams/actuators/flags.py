"""Turns a component off, or back, for those who read the flag document.

The document is a fold over what was executed: to claim and to say that it is done is
all there is to do.
"""

from __future__ import annotations

from detector.verdicts import SWITCHING
from streams.actuators.nothing import Nothing, no_keys
from streams.actuators.receiver import Kind

CARRIED_OUT = tuple(action.value for action in SWITCHING)
KIND = Kind(no_keys, Nothing, acts=True, actions=CARRIED_OUT)
