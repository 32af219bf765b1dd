"""Dead letters, looked at, sent again, and dropped."""

from eddyline.offline.dead_letters.over_http import HttpDestination
from eddyline.offline.dead_letters.removal import Destination, Outcome, TopicDestination, drop, replay
from eddyline.offline.dead_letters.restoring import restored
from eddyline.offline.dead_letters.selection import Selection, Survey, moment, selected, survey

__all__ = [
    "Destination",
    "HttpDestination",
    "Outcome",
    "Selection",
    "Survey",
    "TopicDestination",
    "drop",
    "moment",
    "replay",
    "restored",
    "selected",
    "survey",
]
