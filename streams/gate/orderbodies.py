"""What people send to the gates, and what they hear."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from acting.calendars import Line
from acting.records import EVERY, WINDOWS_MAX, Name, Text


class OrderWord(StrEnum):
    """What people order over HTTP: the words of ``hypercare order``, and calendars."""

    STOP = "stop"
    RESUME = "resume"
    FREEZE = "freeze"
    THAW = "thaw"
    MODE = "mode"
    APPROVE = "approve"
    REJECT = "reject"
    CALM = "calm"
    APPROVALS = "approvals"
    WITHDRAW = "withdraw"
    RESTORE = "restore"
    CALENDAR = "calendar"


class WindowBody(Struct, kw_only=True, forbid_unknown_fields=True):
    """A time that comes back, in which nothing is executed (RFC 5545)."""

    name: Line
    rrule: Line
    start: Line
    duration: Line
    timezone: Line


class OrderBody(Struct, kw_only=True, forbid_unknown_fields=True):
    """What a person says; ``windows`` are those of a calendar, none take it back."""

    word: OrderWord
    why: Text
    service: Name = EVERY
    value: Text = ""
    recommendation_id: Text = ""
    environment: Name | UnsetType = UNSET
    windows: Annotated[list[WindowBody], Meta(max_length=WINDOWS_MAX)] | UnsetType = (
        UNSET
    )


class OrderTold(Struct):
    """What holds now."""

    holds: OrderWord
