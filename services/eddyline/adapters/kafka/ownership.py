"""What a loop owns: each partition's epoch, how far it is handled and committed, and the commit that is on its way.

All of it belongs to the loop's thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import orjson

from eddyline.adapters.kafka.contract import TopicPartition
from eddyline.adapters.kafka.membership import GroupMember, OffsetAndMetadata
from eddyline.errors import Unavailable


@dataclass(slots=True)
class OwnedPartition:
    """A partition of ours. Until `epoch` is committed (`committed` set) none of its records may be handled.

    `handled` is the next offset to handle, `committed` the one that the broker has confirmed under our epoch; `log`
    is the log's identity, `rewind`: the consumer must seek to `handled`.
    """

    epoch: int | None = None
    handled: int = 0
    committed: int | None = None
    announced: bool = False
    log: str = ""
    rewind: bool = False

    @property
    def position(self) -> OffsetAndMetadata:
        """The position that its commit must hold."""
        return OffsetAndMetadata(self.handled, commit_metadata(self.epoch or 0, self.log))


def commit_metadata(epoch: int, log: str) -> str:
    """Return the metadata of every commit under `epoch`, of an offset in `log`."""
    return orjson.dumps({"epoch": epoch, "log": log}).decode()


def epoch_of(metadata: str) -> int:
    """Read the epoch in a commit's metadata; 0 where there is none (a commit by something else)."""
    found = _metadata_field(metadata, "epoch")
    return found if isinstance(found, int) else 0


def is_from_log(log: str, metadata: str) -> bool:
    """Say whether a commit's offset counts in this log: unless its metadata names another."""
    return _metadata_field(metadata, "log") in (None, log)


def _metadata_field(metadata: str, name: str) -> object:
    try:
        found = orjson.loads(metadata)
    except orjson.JSONDecodeError:
        return None
    return found.get(name) if isinstance(found, dict) else None


class PartitionOwnership:
    """The partitions that the group has given us."""

    def __init__(self) -> None:
        self._owned: dict[TopicPartition, OwnedPartition] = {}

    def __contains__(self, source: TopicPartition) -> bool:
        return source in self._owned

    def __getitem__(self, source: TopicPartition) -> OwnedPartition:
        return self._owned[source]

    def __iter__(self) -> Iterator[TopicPartition]:
        return iter(tuple(self._owned))

    def __len__(self) -> int:
        return len(self._owned)

    def add_partitions(self, partitions: Iterable[TopicPartition]) -> None:
        """Own these, without an epoch yet."""
        for source in partitions:
            self._owned[source] = OwnedPartition()

    def remove_partitions(self, partitions: Iterable[TopicPartition]) -> list[TopicPartition]:
        """Own these no more; return those of them that were announced to the handler."""
        removed = [(source, self._owned.pop(source)) for source in partitions if source in self._owned]
        return [source for source, owned in removed if owned.announced]

    def invalidate_epochs(self) -> list[TopicPartition]:
        """Have every partition need a new epoch; return those that were announced. `handled` stays."""
        announced = [source for source, owned in self._owned.items() if owned.announced]
        self._owned = {
            source: OwnedPartition(handled=owned.handled, log=owned.log) for source, owned in self._owned.items()
        }
        return announced

    def unannounced(self) -> list[TopicPartition]:
        """Return those that aren't announced to the handler yet."""
        return [source for source, owned in self._owned.items() if not owned.announced]

    def is_behind(self, source: TopicPartition, offset: int) -> bool:
        """Say whether a record at this offset was handled before: then the log has been cut, or is another."""
        owned = self._owned.get(source)
        return owned is not None and owned.announced and offset < owned.handled

    def announced(self, source: TopicPartition) -> bool:
        """Say whether its records may be handled."""
        owned = self._owned.get(source)
        return owned is not None and owned.announced

    def lag(self, known_high: Callable[[TopicPartition], int | None]) -> dict[TopicPartition, int]:
        """Count what isn't handled yet of each announced partition, by the next offset that is known of it."""
        return {
            source: max(0, high - owned.handled)
            for source, owned in self._owned.items()
            if owned.announced and (high := known_high(source)) is not None
        }

    def claim(self, claims: Mapping[TopicPartition, OwnedPartition]) -> None:
        """Note their epochs, which aren't committed yet."""
        for source, claimed in claims.items():
            known = self._owned[source]
            handled = max(claimed.handled, known.handled) if claimed.log == known.log else claimed.handled
            self._owned[source] = replace(claimed, handled=handled)

    def confirmed(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Return the epochs of those of `partitions` that are still ours and whose epoch is committed."""
        return {
            source: owned.epoch
            for source in partitions
            if (owned := self._owned.get(source)) and owned.epoch is not None and owned.committed is not None
        }

    def announce(self, partitions: Iterable[TopicPartition]) -> None:
        """Note that they were announced to the handler."""
        for source in partitions:
            self._owned[source].announced = True

    def handled(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Note that everything before these offsets is handled."""
        for source, offset in offsets.items():
            self._owned[source].handled = offset

    def awaits(self, sent: Mapping[TopicPartition, OffsetAndMetadata]) -> bool:
        """Say whether the broker hasn't confirmed all of `sent` that is still ours."""
        return any(
            owned.committed != position.offset
            for source, position in sent.items()
            if (owned := self._owned.get(source)) is not None and owned.epoch == epoch_of(position.metadata)
        )

    def uncommitted(self) -> dict[TopicPartition, OffsetAndMetadata]:
        """Return what must be committed: under an epoch, and not confirmed as it is."""
        return {
            source: owned.position
            for source, owned in self._owned.items()
            if owned.epoch is not None and owned.committed != owned.handled
        }

    def confirm(self, positions: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
        """Note that the broker has these; what an earlier ownership of ours sent (another epoch) counts for nothing."""
        for source, position in positions.items():
            owned = self._owned.get(source)
            if owned is not None and epoch_of(position.metadata) == owned.epoch:
                owned.committed = position.offset


class OffsetCommits:
    """Commits what is handled: sent without waiting, and answered while polling, one at a time.

    `poll` polls for a moment; `seconds` limits each wait by the clock `monotonic`.
    """

    def __init__(
        self, owned: PartitionOwnership, poll: Callable[[], None], seconds: float, monotonic: Callable[[], float]
    ) -> None:
        self._owned, self._poll, self._seconds, self._monotonic = owned, poll, seconds, monotonic
        self._sent: Mapping[TopicPartition, OffsetAndMetadata] = {}
        self._error: Exception | None = None

    @property
    def in_flight(self) -> bool:
        """Whether a commit was sent and its answer not awaited yet."""
        return bool(self._sent)

    def send(self, member: GroupMember) -> None:
        """Send a commit of what is handled. The one before must have been answered."""
        uncommitted = self._owned.uncommitted()
        if uncommitted:
            self._error = None
            member.commit(uncommitted)
            self._sent = uncommitted

    def wait(self) -> None:
        """Poll until the commit that was sent is answered. What is revoked meanwhile needs no answer.

        Raises what `failed` got, and `Unavailable` where no answer comes.
        """
        deadline = self._monotonic() + self._seconds
        while self._owned.awaits(self._sent):
            self.raise_refusal()
            if self._monotonic() > deadline:
                self._sent = {}
                raise Unavailable("Kafka doesn't answer a commit")
            self._poll()
        self._sent = {}

    def failed(self, error: Exception) -> None:
        """Note why the broker didn't take the commit."""
        self._error = error

    def raise_refusal(self) -> None:
        """Raise what `failed` got, where it concerns a partition that is still ours."""
        if self._error is not None and self._owned.awaits(self._sent):
            self._sent = {}
            raise self._error


def claim(
    member: GroupMember,
    partitions: Iterable[TopicPartition],
    min_epoch: int,
    logs: Mapping[str, str],
    seconds: float,
) -> dict[TopicPartition, OwnedPartition]:
    """Work out a new epoch for each, over every earlier owner's and at least `min_epoch`, and where reading starts.

    `logs` gives the identity of each topic's log, `seconds` the limit of each question. Raises `Unavailable`.

    Where nothing usable is committed (a new group; a log that was cut or recreated), reading starts at the
    earliest record, as the consumer does by itself, unless it has found an offset of another log.
    """
    claims = {}
    for source, position in member.committed(partitions, seconds).items():
        low, high = member.watermarks(source, seconds)
        log = logs[source.topic]
        foreign = position is not None and not is_from_log(log, position.metadata)
        usable = position is not None and not foreign and low <= position.offset <= high
        start = position.offset if position is not None and usable else low
        earlier = epoch_of(position.metadata) if position is not None else 0
        claims[source] = OwnedPartition(epoch=max(earlier + 1, min_epoch), handled=start, log=log, rewind=foreign)
    return claims
