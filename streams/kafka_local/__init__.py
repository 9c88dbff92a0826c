"""Apache Kafka on loopback for the demo, tests, benchmarks and developers.

No Docker, no Maven, no ZooKeeper: jars by coordinate with locked hashes, a Java
runtime found or taken from a wheel, one process per node.
"""

from streams.kafka_local.broker import (
    DEFAULT_PORT,
    DEFAULT_VERSION,
    LocalKafka,
    NodeStatus,
)
from streams.kafka_local.errors import (
    BrokerFailedError,
    DownloadError,
    JavaMissingError,
    KafkaLocalError,
    PortTakenError,
)
from streams.kafka_local.extras import Extras, Listener, secured
from streams.kafka_local.jars import VERSIONS
from streams.kafka_local.java import Java, find_java
from streams.kafka_local.processes import free_ports

__all__ = [
    "DEFAULT_PORT",
    "DEFAULT_VERSION",
    "VERSIONS",
    "BrokerFailedError",
    "DownloadError",
    "Extras",
    "Java",
    "JavaMissingError",
    "KafkaLocalError",
    "Listener",
    "LocalKafka",
    "NodeStatus",
    "PortTakenError",
    "find_java",
    "free_ports",
    "secured",
]
