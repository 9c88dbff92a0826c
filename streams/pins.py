"""What this project stands on in its libraries beyond their documented use.

A test compares signature and source of every method named here with what they were
when somebody read them, and refuses a private name or an override that is not named
here: an upgrade fails loudly, and says where, instead of losing records quietly.
"""

from __future__ import annotations

_CONSUMER = "faust.transport.consumer:Consumer"
_DELEGATE = "faust.transport.consumer:ThreadDelegateConsumer"
_DRIVER = "faust.transport.drivers.aiokafka"
_THREAD = f"{_DRIVER}:AIOKafkaConsumerThread"
_APP = "faust.app.base:App"
_GROUP = "aiokafka.consumer.group_coordinator:GroupCoordinator"
_CLIENT = "aiokafka.consumer.consumer:AIOKafkaConsumer"
_BATCH = "aiokafka.record.default_records:_DefaultRecordBatchPy"
_READER = "kafka.record.default_records:DefaultRecordBatch"

PINNED: tuple[tuple[str, str], ...] = (
    # Overridden or called by streams.source and streams.seeking: the fetch, seeks,
    # commits, rebalances.
    (_CONSUMER, "getmany"),
    (_CONSUMER, "_wait_next_records"),
    (_CONSUMER, "_drain_messages"),
    (_CONSUMER, "perform_seek"),
    (_CONSUMER, "commit"),
    (_CONSUMER, "_new_offset"),
    (_CONSUMER, "_filter_tps_with_pending_acks"),
    (_CONSUMER, "_should_commit"),
    (_CONSUMER, "_commit_offsets"),
    (_CONSUMER, "on_partitions_revoked"),
    (_CONSUMER, "on_partitions_assigned"),
    (_CONSUMER, "wait_empty"),
    (_CONSUMER, "_add_gap"),
    (_DELEGATE, "__init__"),
    (_DELEGATE, "_getmany"),
    (_DELEGATE, "seek_to_committed"),
    (_DELEGATE, "threadsafe_partitions_revoked"),
    (_DELEGATE, "threadsafe_partitions_assigned"),
    (f"{_DRIVER}:Consumer", "verify_event_path"),
    (f"{_DRIVER}:Consumer", "_new_topicpartition"),
    (f"{_DRIVER}:Consumer", "_to_message"),
    (f"{_DRIVER}:ConsumerRebalanceListener", "on_partitions_revoked"),
    (f"{_DRIVER}:ConsumerRebalanceListener", "on_partitions_assigned"),
    (f"{_DRIVER}:Transport", "__init__"),
    (f"{_DRIVER}:Consumer", "_new_consumer_thread"),
    (_THREAD, "_create_worker_consumer"),
    (_THREAD, "_fetch_records"),
    (_THREAD, "_seek_wait"),
    (_THREAD, "_ensure_consumer"),
    (_THREAD, "_commit"),
    (_THREAD, "seek_to_committed"),
    (_THREAD, "verify_event_path"),
    ("mode.threads:QueueServiceThread", "call_thread"),
    ("mode.threads:MethodQueue", "_process_enqueued"),
    # Overridden by streams.app: what is made, started and stopped, in which order.
    (_APP, "__init__"),
    (_APP, "_new_transport"),
    (_APP, "_stop_consumer"),
    (_APP, "_create_directories"),
    (_APP, "_on_partitions_revoked"),
    (_APP, "_on_partitions_assigned"),
    (_APP, "on_start"),
    (_APP, "on_started"),
    (_APP, "on_stop"),
    ("faust.tables.recovery:Recovery", "_resume_streams"),
    ("mode.services:Service", "stop"),
    ("mode.services:Service", "__init__"),
    ("mode.services:ServiceCallbacks", "on_start"),
    ("mode.services:ServiceCallbacks", "on_stop"),
    ("aiokafka.abc:ConsumerRebalanceListener", "on_partitions_revoked"),
    ("aiokafka.abc:ConsumerRebalanceListener", "on_partitions_assigned"),
    # What an agent's batch is taken and acknowledged by.
    ("faust.streams:Stream", "take_events"),
    # The group's coordinator, whose errors Faust never asks for.
    (_GROUP, "check_errors"),
    (_GROUP, "_push_error_to_user"),
    (_GROUP, "_coordination_routine"),
    (_GROUP, "_GroupCoordinator__coordination_routine"),
    (_GROUP, "_on_join_prepare"),
    (_GROUP, "_on_join_complete"),
    (_GROUP, "_perform_assignment"),
    (_GROUP, "_maybe_leave_group"),
    ("aiokafka.consumer.fetcher:Fetcher", "fetched_records"),
    (_CLIENT, "getmany"),
    ("aiokafka.consumer.fetcher:Fetcher", "request_offset_reset"),
    ("aiokafka.consumer.fetcher:Fetcher", "_update_fetch_positions"),
    # Overridden by streams.leaders.
    ("aiokafka.consumer.fetcher:Fetcher", "_proc_offset_request"),
    ("aiokafka.consumer.fetcher:Fetcher", "_get_actions_per_node"),
    ("aiokafka.client:AIOKafkaClient", "force_metadata_update"),
    (_CLIENT, "seek_to_beginning"),
    (_CLIENT, "seek_to_committed"),
    (_CLIENT, "seek"),
    (_CLIENT, "commit"),
    (_CLIENT, "committed"),
    (_CLIENT, "position"),
    (_CLIENT, "stop"),
    # Whose limits streams.patience sets, by what a connection is for.
    ("aiokafka.client:AIOKafkaClient", "_get_conn"),
    ("aiokafka.client:AIOKafkaClient", "send"),
    ("aiokafka.client:AIOKafkaClient", "_metadata_update"),
    ("aiokafka.client:AIOKafkaClient", "_on_connection_closed"),
    ("aiokafka.conn:AIOKafkaConnection", "__init__"),
    ("aiokafka.conn:AIOKafkaConnection", "send"),
    # What a producer that is let go still holds.
    ("aiokafka.producer.message_accumulator:MessageAccumulator", "fail_all"),
    # Replaced by streams.gzipped.
    ("aiokafka.record.default_records:_DefaultRecordBatchBuilderPy", "_maybe_compress"),
    # Replaced by streams.bounded.
    ("aiokafka.consumer.fetcher:PartitionRecords", "__init__"),
    ("aiokafka.consumer.fetcher:PartitionRecords", "_unpack_records"),
    (_BATCH, "_maybe_uncompress"),
    (_READER, "_maybe_uncompress"),
    (_READER, "__init__"),
)
"""Methods this project overrides, replaces, or relies on, as (module:class, method)."""

ATTRIBUTES: tuple[str, ...] = (
    "_read_offset",
    "_thread",
    "_fetcher",
    "_coordinator",
    "_coordination_task",
    "_pending_exception",
    "_buffer",
    "_pos",
    "_num_records",
    "_decompressed",
    "_fetch_max_wait_ms",
    "_client",
    "_conns",
    "_request_timeout",
    "_request_timeout_ms",
    "_message_accumulator",
    "_sender",
)
"""Private attributes of libraries that are read or set."""
