"""What must be right before a worker begins: Kafka answers, the topics are ours.

A broker that is away is no error of the worker: it says so every few seconds and
waits. Everything that waiting does not cure ends the process with one message that
names the fix, before Faust has begun anything.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from kafka.errors import KafkaError

from streams.errors import Refused, Unreachable
from streams.halt import Exit, end_process
from streams.permissions import Role
from streams.settings import Settings
from streams.topics import Difference, TopicsError, check_or_explain

logger = logging.getLogger(__name__)

RETRY_S = 3.0
"""Pause between two attempts to reach Kafka; one line in the log for each."""


async def require_topics(
    settings: Settings,
    pause: Callable[[float], Awaitable[bool]],
    role: Role = Role.WORKER,
) -> bool:
    """Wait until Kafka answers, then end the worker where topics are wrong.

    Without this a worker waits silently for topics that nobody creates.

    Parameters
    ----------
    settings : Settings
        Where Kafka is and how the topics are called.
    pause : callable
        Waits so many seconds and returns whether to go on.
    role : Role
        Whose topics and permissions must be right.

    Returns
    -------
    bool
        False if the worker was told to end while it waited.
    """
    loop = asyncio.get_running_loop()
    while True:
        try:
            found = await loop.run_in_executor(None, check_or_explain, settings, role)
        except Refused as error:
            end_process(Exit.SETTINGS, "kafka.refused: %s", error)
        except (TopicsError, Unreachable, KafkaError, OSError) as error:
            logger.warning("kafka.waiting: %s", error)
            if not await pause(RETRY_S):
                return False
        else:
            _judge(found)
            return True


def _judge(found: list[Difference]) -> None:
    for difference in found:
        if not difference.fatal:
            logger.warning("topics.differ: %s", difference)
    fatal = "\n".join(str(one) for one in found if one.fatal)
    if fatal:
        end_process(Exit.SETTINGS, "topics.wrong:\n%s", fatal)
