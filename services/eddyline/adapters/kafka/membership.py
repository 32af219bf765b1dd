"""The ports between the consume loop and its membership in a consumer group; no library is known here.

`KafkaGroupMember` is the real member. The tests script another, to choose when a rebalance comes and how a commit ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol, TypeAlias

from eddyline.adapters.kafka.client_config import KafkaOptions
from eddyline.adapters.kafka.contract import Record, TopicPartition


class CommitRefused(Exception):
    """The group no longer takes our commits: we are a zombie, and own nothing."""


class RebalanceInProgress(Exception):
    """The commit can't be taken just now; it may be when the rebalance is over."""


class OffsetAndMetadata(NamedTuple):
    """What a group has committed of a partition: the next offset to read, and our metadata."""

    offset: int
    metadata: str


class Watermarks(NamedTuple):
    """A partition's first offset, and the one that its next record will get."""

    low: int
    high: int


class GroupListener(Protocol):
    """What happens while polling. Called on the polling thread; must not raise."""

    def on_assigned(self, partitions: Sequence[TopicPartition]) -> None:
        """Take these over; perhaps none, when others own them all."""

    def on_revoked(self, partitions: Sequence[TopicPartition]) -> None:
        """Give these up; commits that are sent before this returns still count."""

    def on_lost(self, partitions: Sequence[TopicPartition]) -> None:
        """Forget these, which are gone already."""

    def on_committed(self, positions: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
        """Note that the broker has taken these."""

    def on_commit_failed(self, error: Exception) -> None:
        """Note why it hasn't: `CommitRefused`, `RebalanceInProgress`, `Unavailable` or `Misconfigured`."""

    def on_problem(self, problem: str) -> None:
        """Note that the cluster can't be reached; the member keeps trying."""

    def on_missing(self, topic: str) -> None:
        """Note that a topic doesn't exist (yet)."""


class GroupMember(Protocol):
    """One member of a consumer group, for one thread, reading from what is committed (or else from the start).

    The listener is called from within `poll` alone; no call blocks for longer than its `seconds`.
    """

    def poll(self, max_records: int, seconds: float) -> list[Record]:
        """Wait up to `seconds` for a record, then take what is there, up to `max_records`. Callbacks run meanwhile."""

    def commit(self, positions: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
        """Send a commit; the listener gets its outcome while polling. May raise what `on_commit_failed` may get."""

    def committed(
        self, partitions: Iterable[TopicPartition], seconds: float
    ) -> dict[TopicPartition, OffsetAndMetadata | None]:
        """Ask what the group has committed; None where nothing. Raises `Unavailable`."""

    def watermarks(self, source: TopicPartition, seconds: float) -> Watermarks:
        """Ask the broker for a partition's bounds. Raises `Unavailable`."""

    def known_high(self, source: TopicPartition) -> int | None:
        """Return the next record's offset as of the last fetch, without asking; None before the first."""

    def present(self, seconds: float) -> set[str] | None:
        """Ask which of our topics exist; None when the cluster doesn't answer."""

    def log_identities(self, topics: Iterable[str]) -> dict[str, str]:
        """Ask for the identity of each topic's log, which changes when it is recreated. Raises `Unavailable`."""

    def seek(self, source: TopicPartition, offset: int) -> None:
        """Read on from there. Raises `Unavailable` while the partition isn't being read yet."""

    def pause(self) -> None:
        """Fetch nothing of what is assigned now."""

    def resume(self) -> None:
        """Fetch again."""

    def close(self, seconds: float) -> bool:
        """Leave the group, telling the listener nothing more; False when that took longer than `seconds`."""


JoinGroup: TypeAlias = Callable[[KafkaOptions, str, Sequence[str], GroupListener, Mapping[str, str]], GroupMember]
"""Join a group: (options, group, logical topics, listener, logs). `logs` gives each topic's identity for the records,
and is the caller's to keep up to date. Raises `Misconfigured` for settings that Kafka refuses."""
