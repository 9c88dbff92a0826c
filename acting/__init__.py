"""What may be done about a recommendation: a fold over one ordered log of claims.

Verdicts are local to a partition of events; permission to act is global. Who wants to
act writes a claim; claims, outcomes and people's orders stand in one topic with one
partition, and whoever reads it from its start comes to the same rulings. Pure, like
``detector``: time is the time Kafka gave each record.
"""
