"""The profiles of the partitions that are ours: cached, copied for each attempt, written under the owner's epoch."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping

import orjson

from eddyline.adapters.telemetry import Metrics
from eddyline.adapters.vectors import (
    Filter,
    Match,
    Point,
    PointStore,
    Range,
    Sparse,
    retrieve_profiles,
    scroll_pages,
)
from eddyline.adapters.vectors.epoch_fence import EpochFence, not_above
from eddyline.errors import Unavailable
from eddyline.model.decay import DAY
from eddyline.model.ids import Person, person_point_id
from eddyline.model.profile import Profile, decode_profile, encode_payload
from eddyline.profiler.attempt import Attempt
from eddyline.settings import ProfileSettings
from eddyline.topics import INTERACTIONS

CACHED_BYTES = 512 * 2**20
"""Most memory of all cached profiles, estimated: a few people may have much."""
STATE_BYTES = 4_000_000
"""Largest state of a profile that is written: with the usual settings, and the longest ids, it takes 1.7 million."""
_OBJECTS_PER_STATE = 8
"""Bytes of Python's objects for each byte of a state."""
_PROFILE_BYTES = 6_000
"""Of a profile with next to nothing in it."""


class ProfileStore:
    """Copies out, durable writes in. `collection` is the concrete one; `clock` in epoch seconds."""

    def __init__(
        self,
        store: PointStore,
        collection: str,
        settings: ProfileSettings,
        metrics: Metrics,
        clock: Callable[[], float],
    ) -> None:
        self._store, self._collection, self._settings, self._metrics = store, collection, settings, metrics
        self._clock = clock
        self._fence = EpochFence(INTERACTIONS)
        self._cache: OrderedDict[Person, Profile] = OrderedDict()
        self._sizes: dict[Person, int] = {}
        """Of the cached ones, in bytes, estimated."""
        self._bytes = 0
        self._owner: dict[Person, int] = {}

    def add_partition(self, partition: int, epoch: int) -> None:
        """Own the partition from now on."""
        self._fence.add(partition, epoch)

    def owns(self, partition: int) -> bool:
        """Return whether it is ours."""
        return partition in self._fence

    def remove_partitions(self, partitions: Iterable[int]) -> list[Person]:
        """Give the partitions up and forget their people. Returns who that was."""
        gone = set(partitions)
        self._fence.remove(gone)
        lost = [person for person, partition in self._owner.items() if partition in gone]
        for person in lost:
            self._forget(person)
            del self._owner[person]
        return lost

    def cached(self, person: Person) -> Profile | None:
        """Return a profile as it was last written, where it is at hand. Not to be changed."""
        return self._cache.get(person)

    def partition_of(self, person: Person) -> int:
        """Return where the records of someone who was loaded before are."""
        return self._owner[person]

    def with_pending(self, partition: int) -> Iterator[Profile]:
        """Yield the stored profiles, without vectors, in which interactions wait."""
        mine = Filter(must=(Match("waiting", (partition,)),))
        for page in scroll_pages(self._store, self._collection, filter=mine):
            for point in page:
                profile = decode_profile(Person.from_key(point.payload["person"]), point.payload, {}, self._settings)
                self._owner[profile.person] = partition
                yield profile

    def forwarding_to(self, user: Person) -> list[str]:
        """Return the anonymous ids that were identified as this user and are stored as such."""
        theirs = Filter(must=(Match("forward", (user.key,)),))
        pages = scroll_pages(self._store, self._collection, filter=theirs, payload=("person",))
        keys = (point.payload.get("person") for page in pages for point in page)
        return [Person.from_key(key).id for key in keys if key is not None]

    def load(self, people: Mapping[Person, int], attempt: Attempt) -> None:
        """Give the attempt copies of the profiles, from the cache or the store, or new ones. `people` → partition.

        Raises `Fenced` where a stored one was written under a higher epoch than ours.
        """
        missing = {person_point_id(person): person for person in people if person not in self._cache}
        stored = retrieve_profiles(self._store, self._collection, sorted(missing)) if missing else {}
        for person, partition in people.items():
            cached = self._cache.get(person)
            point = None if cached is not None else stored.get(person_point_id(person))
            if cached is not None:
                profile = cached.copy()
            elif point is not None:
                profile = decode_profile(person, point.payload, point.vectors, self._settings)
            else:
                profile = Profile(person, self._settings)
            loaded = (other.payload["epoch"] for other in stored.values())
            self._fence.check(f"profile {person.key}", profile.delivery.epoch, partition, loaded)
            profile.end_where_idle(self._clock() - self._settings.anonymous_days * DAY)
            profile.delivery.epoch = self._fence.epoch(partition)
            attempt.profiles[person] = profile
            attempt.partitions[person] = partition

    def to_points(self, attempt: Attempt) -> dict[float, list[Point]]:
        """Return what changed as points, by the epoch that they are written under."""
        points: defaultdict[float, list[Point]] = defaultdict(list)
        for person in attempt.changed:
            profile = attempt.profiles[person]
            points[profile.delivery.epoch].append(self._fitting_point(profile, attempt.partitions[person]))
        return points

    def write(self, attempt: Attempt, points: Mapping[float, list[Point]]) -> None:
        """Make the points of an attempt durable, unless a higher epoch has written them; then its copies are the cached
        profiles."""
        try:
            for epoch, changed in points.items():
                self._store.upsert(self._collection, changed, condition=not_above(epoch))
        except Unavailable:
            self._fence.outdate(attempt.partitions.values())
            raise
        sizes = {point.id: _memory_bytes(point) for changed in points.values() for point in changed}
        for person, profile in attempt.profiles.items():
            partition = self._owner[person] = attempt.partitions[person]
            size = (
                sizes.get(person_point_id(person))
                or self._sizes.get(person)
                or _memory_bytes(to_profile_point(profile, partition))
            )
            self._forget(person)
            self._cache[person], self._sizes[person] = profile, size
            self._bytes += size
        while len(self._cache) > self._settings.cached_profiles or self._bytes > CACHED_BYTES:
            person, profile = next(iter(self._cache.items()))
            self._forget(person)
            if not profile.delivery.pending:
                self._owner.pop(person, None)

    def _forget(self, person: Person) -> None:
        self._cache.pop(person, None)
        self._bytes -= self._sizes.pop(person, 0)

    def _fitting_point(self, profile: Profile, partition: int) -> Point:
        """Return the profile's point; of one that a request can't hold, the oldest seen items are shed first."""
        while len((point := to_profile_point(profile, partition)).payload["state"]) > STATE_BYTES:
            dropped = profile.seen.drop_older_half()
            if not dropped:
                break
            self._metrics.shed.labels("seen").inc(dropped)
        return point

    def sweep(self) -> None:
        """Remove the tombstones that are of no use any more, and the anonymous profiles that have ended, whoever owns
        them."""
        kept_days = {"stub_since": self._settings.tombstone_days, "active_at": self._settings.anonymous_days}
        for field, days in kept_days.items():
            since = self._clock() - days * DAY
            self._store.delete_matching(self._collection, Filter(must=(Range(field, lt=since),)))


def to_profile_point(profile: Profile, partition: int) -> Point:
    """Return the point that a profile is stored as. `partition`: where the person's records are."""
    history = Sparse(*profile.seen.history())
    vectors = {"history": history} if len(history.indices) else {}
    return Point(person_point_id(profile.person), vectors, encode_payload(profile, partition))


def _memory_bytes(point: Point) -> int:
    """Estimate how much memory the profile of a point takes."""
    payload = point.payload
    packed = sum(map(len, payload.get("vectors", {}).values())) * 2
    attributes = len(orjson.dumps(payload.get("attributes")))
    return _PROFILE_BYTES + packed + _OBJECTS_PER_STATE * (len(payload["state"]) + attributes)
