"""What a loop owns: each partition's epoch and how far it is handled and committed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import orjson

from eddyline.adapters.kafka.contract import TopicPartition
from eddyline.adapters.kafka.group_member import GroupMember, OffsetAndMetadata


@dataclass(slots=True)
class OwnedPartition:
    """A partition of ours. Until `epoch` is committed (`committed` set) none of its records may be handled.

    `handled` is the next offset to handle, `committed` the one that the broker has confirmed under our epoch; `log`
    is the log's identity, `rewind` says that the consumer must be told to read from `handled`.
    """

    epoch: int | None = None
    handled: int = 0
    committed: int | None = None
    announced: bool = False
    log: str = ""
    rewind: bool = False

    @property
    def position(self) -> OffsetAndMetadata:
        """What its commit must say."""
        return OffsetAndMetadata(self.handled, commit_metadata(self.epoch or 0, self.log))


def commit_metadata(epoch: int, log: str) -> str:
    """The metadata of every commit under `epoch`, of an offset in `log`."""
    return orjson.dumps({"epoch": epoch, "log": log}).decode()


def epoch_of(metadata: str) -> int:
    """The epoch in a commit's metadata; 0 where there is none (a commit by something else)."""
    found = _metadata_field(metadata, "epoch")
    return found if isinstance(found, int) else 0


def is_from_log(log: str, metadata: str) -> bool:
    """Whether a commit's offset counts in this log: unless it says that it is another's."""
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

    def add(self, partitions: Iterable[TopicPartition]) -> None:
        """They came to us, without an epoch yet."""
        for source in partitions:
            self._owned[source] = OwnedPartition()

    def remove(self, partitions: Iterable[TopicPartition]) -> list[TopicPartition]:
        """They go; those of them that the handler was told of."""
        removed = [(source, self._owned.pop(source)) for source in partitions if source in self._owned]
        return [source for source, owned in removed if owned.announced]

    def disown(self) -> list[TopicPartition]:
        """All of them need a new epoch; those that the handler was told of. How far they are handled stays."""
        told = [source for source, owned in self._owned.items() if owned.announced]
        self._owned = {
            source: OwnedPartition(handled=owned.handled, log=owned.log) for source, owned in self._owned.items()
        }
        return told

    def unannounced(self) -> list[TopicPartition]:
        """Those that the handler wasn't told of yet."""
        return [source for source, owned in self._owned.items() if not owned.announced]

    def is_behind(self, source: TopicPartition, offset: int) -> bool:
        """Whether a record at this offset was handled before: then the log has been cut, or is another."""
        owned = self._owned.get(source)
        return owned is not None and owned.announced and offset < owned.handled

    def announced(self, source: TopicPartition) -> bool:
        """Whether its records may be handled."""
        owned = self._owned.get(source)
        return owned is not None and owned.announced

    def claim(self, claims: Mapping[TopicPartition, OwnedPartition]) -> None:
        """They have their epochs, not committed yet."""
        for source, claimed in claims.items():
            known = self._owned[source]
            handled = max(claimed.handled, known.handled) if claimed.log == known.log else claimed.handled
            self._owned[source] = replace(claimed, handled=handled)

    def confirmed(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """The epochs of those of `partitions` that are still ours and whose epoch is committed."""
        return {
            source: owned.epoch
            for source in partitions
            if (owned := self._owned.get(source)) and owned.epoch is not None and owned.committed is not None
        }

    def announce(self, partitions: Iterable[TopicPartition]) -> None:
        """The handler knows them."""
        for source in partitions:
            self._owned[source].announced = True

    def handled(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Everything before these offsets is handled."""
        for source, offset in offsets.items():
            self._owned[source].handled = offset

    def awaits(self, sent: Mapping[TopicPartition, OffsetAndMetadata]) -> bool:
        """Whether the broker hasn't confirmed all of `sent` that is still ours."""
        return any(
            owned.committed != position.offset
            for source, position in sent.items()
            if (owned := self._owned.get(source)) is not None and owned.epoch == epoch_of(position.metadata)
        )

    def unsaved(self) -> dict[TopicPartition, OffsetAndMetadata]:
        """What must be committed: under an epoch, and not confirmed as it is."""
        return {
            source: owned.position
            for source, owned in self._owned.items()
            if owned.epoch is not None and owned.committed != owned.handled
        }

    def confirm(self, positions: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
        """The broker has these; what an earlier ownership of ours sent (another epoch) counts for nothing."""
        for source, position in positions.items():
            owned = self._owned.get(source)
            if owned is not None and epoch_of(position.metadata) == owned.epoch:
                owned.committed = position.offset


def claim(
    member: GroupMember,
    partitions: Iterable[TopicPartition],
    least: int,
    logs: Mapping[str, str],
    seconds: float,
) -> dict[TopicPartition, OwnedPartition]:
    """A new epoch for each, over every earlier owner's and at `least` this, and where reading starts. `logs`: by topic.
    Raises `Unavailable`.

    Where nothing usable is committed (a new group; a log that was cut or created anew), reading starts at the
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
        claims[source] = OwnedPartition(epoch=max(earlier + 1, least), handled=start, log=log, rewind=foreign)
    return claims
