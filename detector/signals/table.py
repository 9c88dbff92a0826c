"""The signals in force, in the order they are shown. One line each."""

from __future__ import annotations

from types import ModuleType

from detector.signals import (
    actions,
    cohort,
    errors,
    feedback,
    history,
    latency,
    latencypast,
    regions,
    signatures,
    steps,
    usage,
)

ERRORS = errors

COMPARED: tuple[ModuleType, ...] = (latency, steps, feedback)
"""Signals beside errors that are compared window by window with a control."""

LOOKED: tuple[ModuleType, ...] = (
    usage,
    actions,
    signatures,
    history,
    latencypast,
    regions,
    cohort,
)
"""Signals that look at the past, at other regions, at a plan, at cohorts or at
what sessions get done."""
