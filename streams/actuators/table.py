"""Kinds of receivers. Add one: a file, a line here, a row in docs/actuators.md."""

from __future__ import annotations

from collections.abc import Mapping

from streams.actuators import alertmanager, command, flags, http, nothing, webhook
from streams.actuators.receiver import Kind

KINDS: Mapping[str, Kind] = {
    "nothing": nothing.KIND,
    "webhook": webhook.KIND,
    "http": http.KIND,
    "command": command.KIND,
    "flags": flags.KIND,
    "alertmanager": alertmanager.KIND,
}
