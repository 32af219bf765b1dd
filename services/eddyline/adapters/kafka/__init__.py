"""Kafka: the only door to it, and the sole owner of `confluent_kafka`."""

from eddyline.adapters.kafka.batch import FAILED, INVALID, is_records_fault
from eddyline.adapters.kafka.client_config import QUEUE_BYTES, KafkaOptions
from eddyline.adapters.kafka.consume_loop import ConsumeLoop
from eddyline.adapters.kafka.contract import (
    Acknowledgements,
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
from eddyline.adapters.kafka.dead_letters.dead_letter import (
    DeadLetter,
    DeadLetterLog,
    DeadLetterStore,
    UnreadableDeadLetter,
)
from eddyline.adapters.kafka.dead_letters.former_files import read_dead_letter_file
from eddyline.adapters.kafka.dead_letters.topic_store import TopicDeadLetterStore, TopicDeadLetterWriter
from eddyline.adapters.kafka.embedded import EmbeddedBroker, GatedProducer, IntakeGate, open_embedded_log
from eddyline.adapters.kafka.failure_isolation import describe_failure, log_failure
from eddyline.adapters.kafka.log_lookup import LogLookup
from eddyline.adapters.kafka.log_reader import LogReader
from eddyline.adapters.kafka.loop_options import LoopOptions
from eddyline.adapters.kafka.membership import OffsetAndMetadata, Watermarks
from eddyline.adapters.kafka.partitioner import murmur2, partition_of
from eddyline.adapters.kafka.producer import KafkaProducer
from eddyline.adapters.kafka.status import LoopStatus
from eddyline.adapters.kafka.topic_admin import ensure_topics, log_identities
from eddyline.adapters.kafka.topic_tail import TopicTail
from eddyline.adapters.kafka.users import WRITTEN_BY_APPS, KafkaUser, access_rules, ensure_users

__all__ = [
    "FAILED",
    "INVALID",
    "QUEUE_BYTES",
    "WRITTEN_BY_APPS",
    "Acknowledgements",
    "ConsumeLoop",
    "DeadLetter",
    "DeadLetterLog",
    "DeadLetterStore",
    "DeadLetterWriter",
    "EmbeddedBroker",
    "GatedProducer",
    "Handler",
    "Headers",
    "IntakeGate",
    "KafkaOptions",
    "KafkaProducer",
    "KafkaUser",
    "LogLookup",
    "LogReader",
    "LoopOptions",
    "LoopStatus",
    "Message",
    "OffsetAndMetadata",
    "Outgoing",
    "Producer",
    "Record",
    "RecordMetadata",
    "TopicDeadLetterStore",
    "TopicDeadLetterWriter",
    "TopicPartition",
    "TopicTail",
    "UnreadableDeadLetter",
    "Watermarks",
    "access_rules",
    "describe_failure",
    "ensure_topics",
    "ensure_users",
    "is_records_fault",
    "log_failure",
    "log_identities",
    "murmur2",
    "open_embedded_log",
    "partition_of",
    "read_dead_letter_file",
]
