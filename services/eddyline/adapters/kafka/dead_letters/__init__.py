"""Where records go that can never be applied, and how they come out again: topics beside their own, or files."""

from eddyline.adapters.kafka.dead_letters.dead_letter import (
    DeadLetter,
    DeadLetterKey,
    DeadLetterLog,
    DeadLetterStore,
    UnreadableDeadLetter,
    in_size_limited_batches,
)
from eddyline.adapters.kafka.dead_letters.file_store import FileDeadLetterStore, FileDeadLetterWriter
from eddyline.adapters.kafka.dead_letters.topic_store import TopicDeadLetterStore, TopicDeadLetterWriter

__all__ = [
    "DeadLetter",
    "DeadLetterKey",
    "DeadLetterLog",
    "DeadLetterStore",
    "FileDeadLetterStore",
    "FileDeadLetterWriter",
    "TopicDeadLetterStore",
    "TopicDeadLetterWriter",
    "UnreadableDeadLetter",
    "in_size_limited_batches",
]
