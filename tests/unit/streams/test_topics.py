"""The topic table: what it asks for, and how differences are explained."""

from __future__ import annotations

import pytest

from streams.kafka_local import LocalKafka
from streams.settings import Settings
from streams.topics import (
    HOT_TOPICS,
    INGRESS,
    LOG,
    STATE,
    TOPICS,
    TopicAdmin,
    TopicsError,
    check_or_explain,
    compare,
    create_missing,
    partitions_of,
    topics_of,
)

BY_NAME = {spec.name: spec for spec in TOPICS}


def test_names_are_unique() -> None:
    """No topic stands twice in the table."""
    assert len(BY_NAME) == len(TOPICS)
    assert {LOG, STATE, *INGRESS} <= set(BY_NAME)


def test_state_matches_the_log() -> None:
    """The state topic has as many partitions as the log and is compacted."""
    settings = Settings(partitions=7)
    assert partitions_of(BY_NAME[STATE], settings) == 7
    assert partitions_of(BY_NAME[LOG], settings) == 7
    assert BY_NAME[STATE].cleanup == "compact"


def test_log_has_the_brokers_clock() -> None:
    """The arrival clock of the log is the broker's, and that is vital."""
    spec = BY_NAME[LOG]
    assert spec.config["message.timestamp.type"] == "LogAppendTime"
    assert "message.timestamp.type" in spec.vital


def test_workers_need_no_clock_to_write() -> None:
    """Every topic a worker writes takes the broker's time; one that does not is named
    with what it costs."""
    for name in (LOG, STATE, "verdicts", "recommendations", "audit", "deadletter"):
        assert BY_NAME[name].config["message.timestamp.type"] == "LogAppendTime"
    (found,) = compare(
        BY_NAME[STATE], Settings(), 4, {"message.timestamp.type": "CreateTime"}
    )
    assert not found.fatal
    assert "clock is an hour ahead" in found.fix


def test_hot_topics_are_asked_for() -> None:
    """Topics of combiners are wanted where they have partitions, with so many."""
    assert topics_of(Settings()) == TOPICS
    wanted = Settings(hot_partitions=12)
    assert topics_of(wanted) == TOPICS + HOT_TOPICS
    assert {partitions_of(spec, wanted) for spec in HOT_TOPICS} == {12}
    (found,) = compare(HOT_TOPICS[0], wanted, 8, {})
    assert found.fatal
    assert "HYPERCARE_HOT_PARTITIONS=8" in found.fix


def test_equal_topic_has_no_difference() -> None:
    """A topic as the table wants it gives no finding."""
    spec = BY_NAME[STATE]
    assert compare(spec, Settings(), 4, spec.configs()) == []


def test_differences_say_the_fix() -> None:
    """A finding names topic, setting, both values and the command that fixes it."""
    spec = BY_NAME[STATE]
    (found,) = compare(
        spec, Settings(), 4, {**spec.configs(), "cleanup.policy": "delete"}
    )
    assert found.fatal
    assert str(found) == (
        "error: topic hypercare.state: cleanup.policy is delete, wanted compact. "
        "kafka-configs --alter --topic hypercare.state "
        "--add-config cleanup.policy=compact"
    )


def test_partition_change_is_fatal() -> None:
    """Another number of partitions of log or state is an error with instructions."""
    (found,) = compare(BY_NAME[LOG], Settings(), 6, {})
    assert found.fatal
    assert "HYPERCARE_PARTITIONS=6" in found.fix


def test_economy_is_a_warning() -> None:
    """What a managed Kafka refuses and only costs money is no error."""
    (found,) = compare(BY_NAME[STATE], Settings(), 4, {"segment.ms": "604800000"})
    assert not found.fatal


def test_silent_kafka_is_explained() -> None:
    """Without a broker the message names the address, the command and the variable."""
    with pytest.raises(TopicsError, match="hypercare kafka start") as error:
        TopicAdmin(Settings(kafka="127.0.0.1:1", io_timeout_s=1.0))
    assert "127.0.0.1:1" in str(error.value)


@pytest.mark.kafka
def test_create_makes_what_check_wants(kafka: LocalKafka) -> None:
    """On a real Kafka: missing before, created once, no difference afterwards."""
    settings = Settings(kafka=kafka.bootstrap, prefix="topicstest", partitions=3)
    missing = check_or_explain(settings)
    assert {(d.what, d.found, d.fatal) for d in missing} == {("topic", "missing", True)}
    assert len(create_missing(settings)) == len(TOPICS)
    assert create_missing(settings) == []
    assert check_or_explain(settings) == []


@pytest.mark.kafka
def test_check_finds_other_partitions(kafka: LocalKafka) -> None:
    """On a real Kafka: a log with another number of partitions is found."""
    made = Settings(kafka=kafka.bootstrap, prefix="topicsother", partitions=2)
    create_missing(made)
    asked = Settings(kafka=kafka.bootstrap, prefix="topicsother", partitions=3)
    assert [d.topic for d in check_or_explain(asked) if d.fatal] == [
        "topicsother.events",
        "topicsother.state",
    ]


@pytest.mark.kafka
def test_impossible_replication_is_explained(kafka: LocalKafka) -> None:
    """On a real Kafka: more replicas than brokers names the variable to change."""
    settings = Settings(kafka=kafka.bootstrap, prefix="topicsthree", replication=3)
    with pytest.raises(TopicsError, match="HYPERCARE_REPLICATION"):
        create_missing(settings)
