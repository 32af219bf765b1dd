"""Notices a topic that was deleted and made anew under a running consumer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from eddyline.adapters.kafka.contract import TopicPartition
from eddyline.adapters.kafka.membership import GroupMember
from eddyline.errors import Unavailable


class LogWatch:
    """Asks now and then whether topics are still the same logs.

    Kafka's client doesn't say: where the new log has more records than were read of the old one, the old offset is in
    range, and reading goes on from there. `monotonic` in seconds.
    """

    def __init__(self, every_seconds: float, monotonic: Callable[[], float]) -> None:
        self._every, self._monotonic = every_seconds, monotonic
        self._next = 0.0

    def replaced(self, member: GroupMember, owned: Iterable[TopicPartition], known: Mapping[str, str]) -> bool:
        """Return whether the topic of one of these is another log than `known`, as of the last `every_seconds`."""
        topics = {source.topic for source in owned}
        if not topics or self._monotonic() < self._next:
            return False
        self._next = self._monotonic() + self._every
        try:
            now = member.log_identities(topics)
        except Unavailable:
            return False  # other requests will tell
        return any(known.get(topic, log) != log for topic, log in now.items())
