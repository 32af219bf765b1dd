"""Replay: the profiles rebuilt from the log, in a new generation, while the old one serves and is written.

The catch-up never passes what the old generation has committed, and sends nothing. Then the old one is sealed; when its
group is empty, what it left is handled as the live profiler would, and the new generation goes live where that ended.
So each record's side effects are sent by exactly one of the two, and none is skipped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

import structlog

from eddyline.adapters.kafka import LogReader, OffsetAndMetadata, TopicPartition
from eddyline.adapters.kafka.ownership import commit_metadata
from eddyline.adapters.vectors import ITEMS, PROFILES, Collections, VectorStore, generations
from eddyline.errors import Misconfigured, Unavailable
from eddyline.maintenance.generations.rebuild import ProfileRebuild, RebuildCounts
from eddyline.profiler import GROUP, TOPIC

log = structlog.get_logger("replay")

NEAR = 1000
"""Records behind the old generation at which it is stopped."""
ROUNDS = 50
"""Most rounds of catching up: an intake faster than the replay is never caught up with."""
LEAVING_SECONDS = 120.0
"""How long the members of a sealed group may take to leave it."""
NAMES = (ITEMS, PROFILES)
ReportLine: TypeAlias = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """What was done. `people`: profiles in the new generation."""

    collections: Collections
    people: int
    tally: RebuildCounts
    seconds: float


class Handover:
    """Stops the writers of the live generation, and starts those of the next: at the same offsets."""

    def __init__(
        self,
        reader: LogReader,
        store: VectorStore,
        log_identity: str,
        say: ReportLine,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self._log, self._store, self._say, self._wait = reader, store, say, wait
        self._log_identity = log_identity

    @contextmanager
    def sealed(self, names: Iterable[str], groups: Iterable[str]) -> Iterator[None]:
        """The writers of these (logical) collections have stopped meanwhile; they go on unless another goes live.

        Raises `Misconfigured` when some don't stop.
        """
        names = tuple(names)
        generations.seal(self._store, names)
        try:
            for group in groups:
                self._await_empty(group)
            yield
        finally:
            generations.unseal(self._store, names)

    def _await_empty(self, group: str) -> None:
        deadline = time.monotonic() + LEAVING_SECONDS
        while members := self._log.members(group):
            if time.monotonic() > deadline:
                raise Misconfigured(
                    f"{members} members of group {group} don't stop within {LEAVING_SECONDS:g} s of being sealed: are "
                    "they of this version, and do they reach the vector store? Stop them, then start over"
                )
            self._wait(0.2)

    def go_live(self, collections: Collections, positions: Mapping[int, int], epoch: int) -> None:
        """From now on. The group of the new profiles goes on at these offsets."""
        metadata = commit_metadata(epoch, self._log_identity)
        position = {p: OffsetAndMetadata(offset, metadata) for p, offset in positions.items()}
        group = generations.group_of(GROUP, collections.profiles)
        self._log.commit(group, {TopicPartition(TOPIC, p): each for p, each in position.items()})
        self._store.flush()
        generations.go_live(self._store, collections)
        self._say(f"{collections.items} and {collections.profiles} are live")


def replay(
    reader: LogReader,
    store: VectorStore,
    make: Callable[[Collections], ProfileRebuild],
    log_identity: str,
    say: ReportLine,
    *,
    only_log: bool = False,
) -> ReplayResult:
    """Rebuild the profiles of the live generation. `make` builds the run for a target, whose collection it creates.

    Profiles that the log no longer covers are taken over, unless `only_log`. Raises `Misconfigured` when the writers
    don't stop, and `Unavailable`; then the old generation goes on, and what was rebuilt is dropped.
    """
    started = time.monotonic()
    live = generations.live(store)
    discard_unfinished_generations(store, live, say)
    target = Collections(live.items, generations.next_free(store, PROFILES))
    try:
        rebuilding = make(target)
        if not only_log:
            rebuilding.carry_over(live.profiles, log_identity)
            say(f"{rebuilding.tally.carried:,} profiles are older than the log, and taken over as they are")
        group = generations.group_of(GROUP, live.profiles)
        catch_up(reader, rebuilding, group, say)
        handover = Handover(reader, store, log_identity, say)
        with handover.sealed([PROFILES], [group]):
            finish(reader, rebuilding, group, say)
            handover.go_live(target, rebuilding.positions, rebuilding.epoch)
    except BaseException:
        if generations.live(store) == live:
            store.drop(target.profiles)
        raise
    return ReplayResult(target, store.count(target.profiles), rebuilding.tally, time.monotonic() - started)


def catch_up(reader: LogReader, rebuilding: ProfileRebuild, group: str, say: ReportLine) -> None:
    """Fold what the old generation has committed, until it is hardly ahead."""
    for _ in range(ROUNDS):
        ends = committed_offsets(reader, group, rebuilding)
        behind = _distance(rebuilding.positions, ends)
        if behind <= NEAR:
            return
        say(f"{behind:,} records behind the live generation")
        before = dict(rebuilding.positions)
        rebuilding.run(ends)
        if rebuilding.positions == before:
            return
    log.warning("the intake is faster than the replay: the live generation is stopped for longer", rounds=ROUNDS)


def finish(reader: LogReader, rebuilding: ProfileRebuild, group: str, say: ReportLine) -> None:
    """With the old generation stopped: fold what it has committed, then all that is left, as the live profiler."""
    rebuilding.run(committed_offsets(reader, group, rebuilding))
    rebuilding.settle()
    ends = {partition: high for partition, (_, high) in reader.bounds(TOPIC).items()}
    say(f"the old generation has stopped; {_distance(rebuilding.positions, ends):,} records are left")
    rebuilding.run(ends, heard=True)
    if short := _distance(rebuilding.positions, ends):
        raise Unavailable(f"{short} records could not be read to the end: a transfer's origin is missing; start over")


def committed_offsets(reader: LogReader, group: str, rebuilding: ProfileRebuild) -> dict[int, int]:
    """The next offset of each partition that the group will read; where it has committed nothing, where we are."""
    found = reader.committed(group, TOPIC)
    return {
        partition: position.offset if (position := found.get(partition)) is not None else here
        for partition, here in rebuilding.positions.items()
    }


def discard_unfinished_generations(store: VectorStore, live: Collections, say: ReportLine) -> None:
    """Drop what an earlier run that was killed has left, and let the writers go on that it may have stopped."""
    generations.unseal(store, NAMES)
    for name in NAMES:
        newest = generations.generation_of(live.named(name))
        for collection in generations.existing(store, name):
            if generations.generation_of(collection) > newest:
                say(f"dropping {collection}, which an earlier run left unfinished")
                store.drop(collection)


def _distance(positions: Mapping[int, int], ends: Mapping[int, int]) -> int:
    return sum(max(0, end - positions.get(partition, end)) for partition, end in ends.items())
