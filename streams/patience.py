"""How long a client waits for one node: a frozen one is left for another in time.

A client has one limit for all it asks, and joining a group may take as long as its
slowest member. A frozen node takes connections and says nothing. It would be waited for
as long before its partitions are read from, or written to, the node that leads them
now; and who connects to it keeps all others from connecting. So joining has the long
limit and everything else a short one.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Any

from aiokafka.client import ConnectionGroup

from streams.wallclock import monotonic_s

ANSWER_PART, CONNECT_PART = 2, 4
"""Parts of the time limit that one node may use up of it."""


class Patience:
    """How long a client waits for whom; in place of its ``_get_conn``.

    Parameters
    ----------
    client : AIOKafkaClient
        Of a consumer or producer that is not started yet.
    io_timeout_s : float
        The limit of a question to Kafka; a node that answers none gets a part of it,
        so that there is time to ask another.
    """

    def __init__(self, client: Any, io_timeout_s: float) -> None:
        self._client, self._connect = client, client._get_conn
        self._join_s = client._request_timeout_ms / 1000
        self._answer_s = io_timeout_s / ANSWER_PART
        self._connect_s = io_timeout_s / CONNECT_PART
        self._asking: defaultdict[Any, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._again_s: dict[Any, float] = {}
        client._request_timeout_ms = int(self._connect_s * 1000)

    async def get_conn(
        self,
        node_id: Any,
        *,
        group: int = ConnectionGroup.DEFAULT,
        no_hint: bool = False,
    ) -> Any:
        """Return a connection; None at once for a node that has just been refused.

        All connecting is one after the other: without that everybody who wants the
        same frozen node would in turn keep all others from connecting.
        """
        held = self._client._conns.get((node_id, group))
        if held is not None and held.connected():
            return held
        async with self._asking[node_id]:
            if monotonic_s() < self._again_s.get(node_id, 0.0):
                return None
            found = await self._connect(node_id, group=group, no_hint=no_hint)
            if found is None:
                self._again_s[node_id] = monotonic_s() + self._connect_s
                return None
        is_group = group == ConnectionGroup.COORDINATION
        found._request_timeout = self._join_s if is_group else self._answer_s
        return found


def wait_briefly(client: Any, io_timeout_s: float) -> None:
    """Let a client that is not started yet wait long for its group only.

    Of a producer, too: a batch on its way to a frozen node keeps all later ones of its
    partition waiting, and connecting to that node again and again for the whole limit
    outlasted the choice of another leader (measured: 20 s more until a partition was
    claimed). What is sent twice for that is written once, the producer is idempotent.
    """
    client._get_conn = Patience(client, io_timeout_s).get_conn
