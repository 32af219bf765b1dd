"""Kafka: the only door to it, and the sole owner of `confluent_kafka`."""

from eddyline.adapters.kafka.consume_loop import ConsumeLoop
from eddyline.adapters.kafka.contract import (
    DeadLetterWriter,
    Handler,
    Headers,
    Message,
    Outgoing,
    Producer,
    Record,
    RecordMetadata,
    TopicPartition,
)
from eddyline.adapters.kafka.dead_letters import (
    DeadLetter,
    DeadLetterLog,
    DeadLetterStore,
    FileDeadLetterStore,
    FileDeadLetterWriter,
    TopicDeadLetterStore,
    TopicDeadLetterWriter,
    UnreadableDeadLetter,
)
from eddyline.adapters.kafka.embedded import EmbeddedBroker
from eddyline.adapters.kafka.feedback_producer import FeedbackProducer
from eddyline.adapters.kafka.group_member import OffsetAndMetadata, Watermarks
from eddyline.adapters.kafka.log_lookup import LogLookup
from eddyline.adapters.kafka.log_reader import LogReader
from eddyline.adapters.kafka.options import LARGE_RECORD_BYTES, QUEUE_BYTES, KafkaOptions, LoopOptions
from eddyline.adapters.kafka.partitioner import murmur2, partition_of
from eddyline.adapters.kafka.producer import KafkaProducer
from eddyline.adapters.kafka.retention import RetentionGuard, framed_size
from eddyline.adapters.kafka.status import LoopMetrics, LoopStatus, NoLoopMetrics
from eddyline.adapters.kafka.topic_admin import (
    SOURCE_TOPICS,
    TOPIC_SPECS,
    EnsuredTopic,
    TopicSpec,
    ensure_topics,
    log_identities,
)
from eddyline.adapters.kafka.topic_tail import TopicTail

__all__ = [
    "LARGE_RECORD_BYTES",
    "QUEUE_BYTES",
    "SOURCE_TOPICS",
    "TOPIC_SPECS",
    "ConsumeLoop",
    "DeadLetter",
    "DeadLetterLog",
    "DeadLetterStore",
    "DeadLetterWriter",
    "EmbeddedBroker",
    "EnsuredTopic",
    "FeedbackProducer",
    "FileDeadLetterStore",
    "FileDeadLetterWriter",
    "Handler",
    "Headers",
    "KafkaOptions",
    "KafkaProducer",
    "LogLookup",
    "LogReader",
    "LoopMetrics",
    "LoopOptions",
    "LoopStatus",
    "Message",
    "NoLoopMetrics",
    "OffsetAndMetadata",
    "Outgoing",
    "Producer",
    "Record",
    "RecordMetadata",
    "RetentionGuard",
    "TopicDeadLetterStore",
    "TopicDeadLetterWriter",
    "TopicPartition",
    "TopicSpec",
    "TopicTail",
    "UnreadableDeadLetter",
    "Watermarks",
    "ensure_topics",
    "framed_size",
    "log_identities",
    "murmur2",
    "partition_of",
]
