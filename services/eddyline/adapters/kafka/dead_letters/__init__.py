"""Where records go that can never be applied, and how they come out again: topics beside their own, or files."""

from eddyline.adapters.kafka.dead_letters.files import FileDeadLetterBox, FileDeadLetters
from eddyline.adapters.kafka.dead_letters.letter import (
    DeadLetterBox,
    Identity,
    Letter,
    LetterLog,
    Unreadable,
    batches,
)
from eddyline.adapters.kafka.dead_letters.topics import TopicDeadLetterBox, TopicDeadLetters

__all__ = [
    "DeadLetterBox",
    "FileDeadLetterBox",
    "FileDeadLetters",
    "Identity",
    "Letter",
    "LetterLog",
    "TopicDeadLetterBox",
    "TopicDeadLetters",
    "Unreadable",
    "batches",
]
