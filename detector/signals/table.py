"""The signals in force, in the order they are shown. One line each."""

from __future__ import annotations

from detector.signals import errors

SIGNALS = {errors.NAME: errors}
