"""From the live generation to the next: made, caught up with the log, switched to at the same offsets, or dropped.

The catch-up never passes what the live generation has committed, and sends nothing. Then its writers are sealed; when
their groups are empty, what they left is handled as the live profiler would, and the new generation goes live where
that ended. So each record's side effects are sent by exactly one of the two, and none is skipped. A run that is killed
leaves the live generation sealed and an unfinished one behind: the next run, or `eddyline replay --give-up`, undoes
both.
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
from eddyline.maintenance.generations.rebuild import ProfileRebuild, RebuildCounts, TranslateRecord
from eddyline.profiler import GROUP
from eddyline.topics import INTERACTIONS

log = structlog.get_logger("replay")

NEAR = 1000
"""Records behind the live generation at which it is stopped."""
ROUNDS = 50
"""Most rounds of catching up: an intake faster than the replay is never caught up with."""
LEAVING_SECONDS = 120.0
"""How long the members of a sealed group may take to leave it."""
REBUILT = (ITEMS, PROFILES)
"""What a generation can be made of anew; rows stay."""
ReportLine: TypeAlias = Callable[[str], None]
"""Takes a line for whoever watches."""


@dataclass(frozen=True, slots=True)
class RebuildSource:
    """The log that profiles are rebuilt from. `make` builds a run into a target, whose collections exist."""

    reader: LogReader
    log_identity: str
    make: Callable[[Collections, TranslateRecord], ProfileRebuild]


@dataclass(frozen=True, slots=True)
class NewGeneration:
    """A generation that went live: its collections, what is in them, and what became of the records."""

    collections: Collections
    items: int
    people: int
    counts: RebuildCounts
    seconds: float


@contextmanager
def next_generation(
    store: VectorStore, names: Iterable[str], create: Callable[[Collections], None], report: ReportLine
) -> Iterator[tuple[Collections, Collections]]:
    """Give the live collections, and those of the next generation, which `create` makes; those of `names` are new.

    After an error before the new ones are live the old generation goes on, and what was made is dropped.
    """
    live = generations.live(store)
    discard_unfinished_generations(store, live, report)
    fresh = {name: generations.next_free(store, name) for name in names}
    target = Collections(fresh.get(ITEMS, live.items), fresh.get(PROFILES, live.profiles), live.rows)
    try:
        create(target)
        yield live, target
    except BaseException:
        if generations.live(store) == live:
            for collection in fresh.values():
                store.drop(collection)
        raise


def discard_unfinished_generations(store: VectorStore, live: Collections, report: ReportLine) -> None:
    """Drop what an earlier run that was killed has left, and let the writers go on that it may have stopped."""
    generations.unseal(store, REBUILT)
    for name in REBUILT:
        newest = generations.generation_of(live.named(name))
        for collection in generations.existing(store, name):
            if generations.generation_of(collection) > newest:
                report(f"dropping {collection}, which an earlier run left unfinished")
                store.drop(collection)


class Handover:
    """Stops the writers of the live generation, and starts those of the next at the same offsets."""

    def __init__(
        self,
        source: RebuildSource,
        store: VectorStore,
        rebuild: ProfileRebuild,
        live: Collections,
        report: ReportLine,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`sleep` takes seconds."""
        self._log, self._log_identity = source.reader, source.log_identity
        self._store, self._rebuild, self._report, self._sleep = store, rebuild, report, sleep
        self._group = generations.group_of(GROUP, live.profiles)

    def catch_up(self) -> None:
        """Fold what the live generation has committed, until it is hardly ahead."""
        for _ in range(ROUNDS):
            ends = self._committed_offsets()
            behind = self._distance(ends)
            if behind <= NEAR:
                return
            self._report(f"{behind:,} records behind the live generation")
            before = dict(self._rebuild.positions)
            self._rebuild.run(ends)
            if self._rebuild.positions == before:
                return
        log.warning("the intake is faster than the replay: the live generation is stopped for longer", rounds=ROUNDS)

    @contextmanager
    def sealed(self, names: Iterable[str], groups: Iterable[str] = ()) -> Iterator[None]:
        """Stop the writers of these (logical) collections meanwhile: the live profilers, and these other groups.

        They go on afterwards, unless another generation is live then. Raises `Misconfigured` when some don't stop.
        """
        names = tuple(names)
        generations.seal(self._store, names)
        try:
            for group in (*groups, self._group):
                self._await_empty(group)
            yield
        finally:
            generations.unseal(self._store, names)

    def finish(self) -> None:
        """Fold what the stopped live generation has committed, then all that is left, as its profilers would.

        Raises `Unavailable` where the log can't be read to its end.
        """
        self._rebuild.run(self._committed_offsets())
        self._rebuild.apply_pending()
        ends = {partition: high for partition, (_, high) in self._log.bounds(INTERACTIONS).items()}
        self._report(f"the old generation has stopped; {self._distance(ends):,} records are left")
        self._rebuild.run(ends, with_side_effects=True)
        if unread := self._distance(ends):
            raise Unavailable(
                f"{unread} records could not be read to the end: a transfer's origin is missing; start over"
            )

    def go_live(self) -> None:
        """Switch to the new generation. The group of its profiles goes on at the offsets that the rebuild got to."""
        collections = self._rebuild.collections
        metadata = commit_metadata(self._rebuild.epoch, self._log_identity)
        group = generations.group_of(GROUP, collections.profiles)
        self._log.commit(
            group,
            {
                TopicPartition(INTERACTIONS, partition): OffsetAndMetadata(offset, metadata)
                for partition, offset in self._rebuild.positions.items()
            },
        )
        self._store.flush()
        generations.go_live(self._store, collections)
        self._report(f"{collections.items} and {collections.profiles} are live")

    def _await_empty(self, group: str) -> None:
        deadline = time.monotonic() + LEAVING_SECONDS
        while members := self._log.members(group):
            if time.monotonic() > deadline:
                raise Misconfigured(
                    f"{members} members of group {group} don't stop within {LEAVING_SECONDS:g} s of being sealed: are "
                    "they of this version, and do they reach the vector store? Stop them, then start over"
                )
            self._sleep(0.2)

    def _committed_offsets(self) -> dict[int, int]:
        """Find the next offset of each partition that the live group will read; where it has committed none, ours."""
        found = self._log.committed(self._group, INTERACTIONS)
        return {
            partition: position.offset if (position := found.get(partition)) is not None else here
            for partition, here in self._rebuild.positions.items()
        }

    def _distance(self, ends: Mapping[int, int]) -> int:
        positions = self._rebuild.positions
        return sum(max(0, end - positions.get(partition, end)) for partition, end in ends.items())
