"""Exit codes of every ``hypercare`` command but ``gate`` and the worker's own.

Never 1: that is what a crashed Python gives. The worker adds the codes of
``streams.halt.Exit``.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from functools import wraps
from typing import ParamSpec

import click

from detector.rulefile import RuleFileError
from streams.errors import Refused, Unreachable
from streams.kafka_local.errors import KafkaLocalError
from streams.settings import SettingsError
from streams.topics import TopicsError

P = ParamSpec("P")


class Exit(IntEnum):
    """What an exit code says."""

    DONE = 0
    USAGE = 2
    """Wrong arguments, settings, rules or input; the message names the fix."""
    FOUND = 3
    """The command worked and found something wrong (check, status, replay)."""
    UNREACHABLE = 30
    """Kafka or a worker does not answer."""


def explained(command: Callable[P, None]) -> Callable[P, None]:
    """Turn known errors into one message on standard error and their exit code."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except (SettingsError, RuleFileError, KafkaLocalError, Refused) as error:
            click.echo(f"hypercare: {error}", err=True)
            raise SystemExit(Exit.USAGE) from error
        except (TopicsError, Unreachable) as error:
            click.echo(f"hypercare: {error}", err=True)
            raise SystemExit(Exit.UNREACHABLE) from error
        except BrokenPipeError:
            raise SystemExit(Exit.DONE) from None

    return run
