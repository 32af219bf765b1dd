"""Kafka: the only door to it, and the sole owner of `confluent_kafka`."""

from eddyline.adapters.kafka.contract import (
    DeadLetters,
    Delivered,
    Handler,
    Headers,
    Message,
    Outgoing,
    Producer,
    Record,
    TopicPartition,
)
from eddyline.adapters.kafka.dead_letters import (
    DeadLetterBox,
    FileDeadLetterBox,
    FileDeadLetters,
    Letter,
    LetterLog,
    TopicDeadLetterBox,
    TopicDeadLetters,
    Unreadable,
)
from eddyline.adapters.kafka.embedded import EmbeddedBroker
from eddyline.adapters.kafka.feedback import FeedbackProducer
from eddyline.adapters.kafka.log import LogReader
from eddyline.adapters.kafka.lookup import LogLookup
from eddyline.adapters.kafka.loop import ConsumeLoop
from eddyline.adapters.kafka.membership import Position, Watermarks
from eddyline.adapters.kafka.options import LARGE_RECORD_BYTES, QUEUE_BYTES, KafkaOptions, LoopOptions
from eddyline.adapters.kafka.partitioning import murmur2, partition_of
from eddyline.adapters.kafka.producer import KafkaProducer
from eddyline.adapters.kafka.retention import RetentionGuard, framed_size
from eddyline.adapters.kafka.status import LoopMetrics, LoopStatus, NoMetrics
from eddyline.adapters.kafka.tail import TopicTail
from eddyline.adapters.kafka.topics import (
    CATALOGUE,
    SOURCES,
    EnsuredTopic,
    TopicSpec,
    ensure_topics,
    log_identities,
)

__all__ = [
    "CATALOGUE",
    "LARGE_RECORD_BYTES",
    "QUEUE_BYTES",
    "SOURCES",
    "ConsumeLoop",
    "DeadLetterBox",
    "DeadLetters",
    "Delivered",
    "EmbeddedBroker",
    "EnsuredTopic",
    "FeedbackProducer",
    "FileDeadLetterBox",
    "FileDeadLetters",
    "Handler",
    "Headers",
    "KafkaOptions",
    "KafkaProducer",
    "Letter",
    "LetterLog",
    "LogLookup",
    "LogReader",
    "LoopMetrics",
    "LoopOptions",
    "LoopStatus",
    "Message",
    "NoMetrics",
    "Outgoing",
    "Position",
    "Producer",
    "Record",
    "RetentionGuard",
    "TopicDeadLetterBox",
    "TopicDeadLetters",
    "TopicPartition",
    "TopicSpec",
    "TopicTail",
    "Unreadable",
    "Watermarks",
    "ensure_topics",
    "framed_size",
    "log_identities",
    "murmur2",
    "partition_of",
]
