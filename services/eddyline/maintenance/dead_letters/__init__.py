"""Dead letters, looked at, sent again, and dropped."""

from eddyline.maintenance.dead_letters.replay_and_drop import (
    ReplayDestination,
    ReplayOutcome,
    TopicDestination,
    drop,
    replay,
)
from eddyline.maintenance.dead_letters.restored_record import restore_record
from eddyline.maintenance.dead_letters.selection import (
    DeadLetterSelection,
    DeadLetterSummary,
    select_dead_letters,
    summarise_dead_letters,
)

__all__ = [
    "DeadLetterSelection",
    "DeadLetterSummary",
    "ReplayDestination",
    "ReplayOutcome",
    "TopicDestination",
    "drop",
    "replay",
    "restore_record",
    "select_dead_letters",
    "summarise_dead_letters",
]
