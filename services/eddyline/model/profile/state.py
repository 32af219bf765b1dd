"""The state that every interaction is folded into.

The fold is commutative and associative in everything that ranking uses (the accumulators, and the bounded sets of
newest items), so late events and merges are exact. Folding never changes a profile in place where a copy may be shared:
take `copy()` first; a copy is cheap, since vectors and entries are never mutated.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eddyline.errors import Misconfigured
from eddyline.model import decay
from eddyline.model.decay import Accumulator, Vector
from eddyline.model.distance import distance_of, folded_weight
from eddyline.model.exposures import ExposureHistory
from eddyline.model.forwarding import ForwardedFrom, SequenceCheck
from eddyline.model.ids import Person, fingerprint, item_dimension
from eddyline.model.newest_items import NewestItems
from eddyline.model.offsets import Offsets, advance_offset, lowest_offsets
from eddyline.model.profile import codec as stored
from eddyline.model.profile.parts import (
    COUNTED,
    DAY,
    HOUR,
    NOTHING,
    SETS,
    TWINS,
    VECTORS,
    PendingInteraction,
    TimeConstants,
    WeightedInteraction,
)
from eddyline.settings import ProfileSettings

RECENT_HALF_LIFE = 3.0
"""Positions after which a recent item's weight in `history` halves."""


@dataclass(slots=True)
class Profile:
    """Everything known of a person. `space` names the embedding space of all its vectors (None: no vector yet)."""

    person: Person
    settings: ProfileSettings
    space: str | None = None
    taste: Accumulator = NOTHING
    session: Accumulator = NOTHING
    lifetime: Accumulator = NOTHING
    evidence: float = 0.0
    """Sum of all weights' magnitudes, never decayed."""
    events: int = 0
    last_seen: float = 0.0
    recents: NewestItems = field(init=False)
    """Newest items of positive events."""
    viewed: NewestItems = field(init=False)
    purchased: NewestItems = field(init=False)
    disliked: NewestItems = field(init=False)
    liked: NewestItems = field(init=False)
    """Newest items of positive events that say more than a view or a click; a later one lifts a dislike."""
    shown: ExposureHistory = field(init=False)
    """What was in lists that were served to them."""
    popularity: Mapping[str, float] = field(default_factory=dict)
    """How popular the items of `recents` were when they were folded: as a rule of thumb, it depends on that moment."""
    counted: dict[str, float] = field(default_factory=dict)
    """When this person last counted for an item's popularity (at most once an hour)."""
    onboarding: Vector | None = None
    onboarded: tuple[str, int, int] | None = None
    """(log, partition, offset) of the `users` record last applied: answers or an erasure."""
    segment: str | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    erased_at: float | None = None
    pending: tuple[PendingInteraction, ...] = ()
    event_ids: tuple[int, ...] = ()
    """Fingerprints of the newest event ids, oldest first."""
    watermarks: Offsets = field(default_factory=dict)
    """Last offset folded."""
    origins: Offsets = field(default_factory=dict)
    """Highest origin applied of the records that were passed on to this person."""
    first: Offsets = field(default_factory=dict)
    """Lowest offset that this state owes anything to: while all of it is in the log, the state can be recomputed."""
    epoch: float = 0
    forward: Person | None = None
    """Of an anonymous id that was identified: the user whom everything goes to."""
    twins: tuple[str, ...] = ()
    """Of a user: the anonymous ids that were identified as theirs, the newest last."""
    unit: tuple[float, str] | None = None
    """When anything was heard of them first (epoch seconds), and under which key that was, of all that are theirs: what
    experiments assign by, so that someone keeps their variants when they sign in."""
    stub_since: float | None = None
    """When this was last of use, in epoch seconds, for a profile that is only kept to forward or to stay forgotten."""

    def __post_init__(self) -> None:
        """Start with empty sets."""
        self.recents = NewestItems(self.settings.recents)
        self.viewed = NewestItems(self.settings.seen)
        self.purchased = NewestItems(self.settings.seen)
        self.disliked = NewestItems(self.settings.seen)
        self.liked = NewestItems(self.settings.seen)
        self.shown = ExposureHistory(self.settings.exposures)

    def copy(self) -> Profile:
        """A profile that can be folded into without changing this one."""
        twin = Profile.__new__(Profile)
        for name in self.__slots__:
            setattr(twin, name, getattr(self, name))
        return twin

    # -- deduplication ------------------------------------------------------------------------------------------

    def has_folded(self, log: str, partition: int, offset: int) -> bool:
        """Whether the record at this place is at or under the watermark."""
        return offset <= self.watermarks.get(log, {}).get(partition, -1)

    def advance(self, log: str, partition: int, offset: int) -> None:
        """Move the watermark of a partition. Watermarks of other logs (a topic that was recreated) are dropped."""
        self.watermarks = advance_offset(self.watermarks, log, partition, offset)
        if partition not in self.first.get(log, {}):
            self.first = lowest_offsets(self.first, {log: {partition: offset}})

    def receive(self, passage: ForwardedFrom) -> SequenceCheck:
        """Whether to take a record that was passed on; if so, its origin counts as applied."""
        verdict = passage.verdict(self.origins.get(passage.log, {}).get(passage.partition, -1))
        if verdict is SequenceCheck.NEXT:
            self.origins = advance_offset(self.origins, passage.log, passage.partition, passage.offset)
        return verdict

    def is_repeat(self, event_id: str) -> bool:
        """Whether an event of this id was folded, or waits, already."""
        return fingerprint(event_id) in self.event_ids

    def remember(self, event_id: str) -> None:
        """Keep the id, within the bound."""
        self.event_ids = (*self.event_ids, fingerprint(event_id))[-self.settings.event_ids :]

    def forget(self, event_id: str) -> None:
        """The event was given up: sent again, it counts."""
        mark = fingerprint(event_id)
        self.event_ids = tuple(known for known in self.event_ids if known != mark)

    # -- the fold -----------------------------------------------------------------------------------------------

    def note_first_seen(self, time: float, key: str) -> None:
        """Something was heard of them at that time, under this typed person key; not if they were erased since."""
        if not self.is_over(time):
            self.unit = (time, key) if self.unit is None else min(self.unit, (time, key))

    def fold(self, deed: WeightedInteraction, taus: TimeConstants) -> None:
        """Fold one deed in. The caller has checked the space with `accepts`.

        A deed at or before an erasure is dropped. A weight of zero changes only the counts and sets.
        """
        if self.is_over(deed.time):
            return
        weight = folded_weight(deed.weight, distance_of(self.space))
        if weight != 0:
            self.taste = decay.fold(self.taste, deed.vector, weight, deed.time, taus.taste)
            self.session = decay.fold(self.session, deed.vector, weight, deed.time, taus.session)
            self.lifetime = decay.fold(self.lifetime, deed.vector, weight, deed.time, taus.lifetime)
        self.evidence += abs(deed.weight)
        self.events += 1
        self.last_seen = max(self.last_seen, deed.time)
        if deed.type != "impression":
            self.viewed = self.viewed.add(deed.item_id, deed.time)
        if deed.type == "purchase":
            self.purchased = self.purchased.add(deed.item_id, deed.time)
        if deed.weight > 0:
            self.recents = self.recents.add(deed.item_id, deed.time)
            self._note_popularity({deed.item_id: deed.popularity})
            if deed.type not in ("view", "click"):
                self.liked = self.liked.add(deed.item_id, deed.time)
        elif deed.type in ("dislike", "hide", "rating") and deed.weight < 0:
            self.disliked = self.disliked.add(deed.item_id, deed.time)

    def show(self, item_ids: Iterable[str], time: float) -> None:
        """Note items of lists that were served within the minute of `time`: that says nothing about the taste.

        What was shown at or before an erasure is dropped.
        """
        if not self.is_over(time):
            self.shown = self.shown.add(item_ids, time)

    def require_space(self, space: str) -> None:
        """Take on the space of the first vector. Raises `Misconfigured` when this profile lives in another one."""
        if self.space is None:
            self.space = space
        elif self.space != space:
            raise Misconfigured(
                f"profile {self.person.key} is in space {self.space}, the items are in {space}: vectors of different "
                "models are never mixed; re-embed everything (`eddyline reembed`), or start with a new data directory"
            )

    def onboard(
        self,
        vector: Vector | None,
        origin: tuple[str, int, int],
        segment: str | None,
        attributes: Mapping[str, Any],
    ) -> None:
        """Take the answers of a `users` record; an older record of the same log changes nothing."""
        if self._has_applied(origin):
            return
        self.onboarding, self.onboarded = vector, origin
        self.segment, self.attributes = segment, dict(attributes)

    def erase(self, time: float, origin: tuple[str, int, int]) -> bool:
        """Forget everything but what keeps it forgotten; False where this tombstone was applied before.

        What stays: the time, the tombstone's place, the watermarks and origins, the epoch. A tombstone that is told
        again, as after a crash of the embedder, changes nothing: what came since stays.
        """
        if self._has_applied(origin):
            return False
        erased_at = max(time, self.erased_at or 0.0)
        self._become_stub(time)
        self.onboarded, self.erased_at = origin, erased_at
        return True

    def is_over(self, time: float) -> bool:
        """Whether something of that time happened before the person was erased."""
        return self.erased_at is not None and time <= self.erased_at

    def freeze(self, user: Person, time: float) -> None:
        """Keep nothing but what forwards to `user`: everything here has been handed over."""
        event_ids, erased_at, onboarded = self.event_ids, self.erased_at, self.onboarded
        self._become_stub(time)
        self.event_ids, self.erased_at, self.onboarded = event_ids, erased_at, onboarded
        self.forward = user

    def _become_stub(self, time: float) -> None:
        bare = Profile(self.person, self.settings, watermarks=self.watermarks, origins=self.origins, epoch=self.epoch)
        bare.stub_since = time
        for name in self.__slots__:
            setattr(self, name, getattr(bare, name))

    def absorb(self, other: Profile, taus: TimeConstants) -> None:
        """Take in all that another profile holds: exactly as if its events had been folded here, since folds commute.

        The other's answers, attributes and watermarks stay its own.
        """
        if other.space is not None:
            self.require_space(other.space)
        for name in VECTORS:
            merged = decay.merge(getattr(self, name), getattr(other, name), getattr(taus, name))
            setattr(self, name, merged)
        self.evidence += other.evidence
        self.events += other.events
        self.last_seen = max(self.last_seen, other.last_seen)
        for name in SETS:
            union: NewestItems = getattr(self, name)
            for item_id, at in getattr(other, name).times.items():
                union = union.add(item_id, at)
            setattr(self, name, union)
        self.shown = self.shown.union(other.shown)
        self._note_popularity(other.popularity)
        for item_id, at in other.counted.items():
            self.counted = self.counted | {item_id: max(at, self.counted.get(item_id, at))}
        self.pending = (*self.pending, *other.pending)
        self.event_ids = (*other.event_ids, *self.event_ids)[-self.settings.event_ids :]
        self.first = lowest_offsets(self.first, other.first)
        if other.unit is not None:
            self.unit = other.unit if self.unit is None else min(self.unit, other.unit)

    def add_twin(self, anonymous_id: str) -> None:
        """Note that an anonymous id is this user's."""
        others = (twin for twin in self.twins if twin != anonymous_id)
        self.twins = (*others, anonymous_id)[-TWINS:]

    def _note_popularity(self, seen: Mapping[str, float]) -> None:
        more = {i: each for i, each in seen.items() if each > self.popularity.get(i, 0.0)}
        if more:
            self.popularity = {**self.popularity, **more}
        self._prune_popularity()

    def _prune_popularity(self) -> None:
        if not self.popularity.keys() <= self.recents.times.keys():
            self.popularity = {i: each for i, each in self.popularity.items() if i in self.recents.times}

    def _has_applied(self, origin: tuple[str, int, int]) -> bool:
        """Whether this record of `users`, or a later one of the same log, was applied."""
        last = self.onboarded
        return last is not None and last[:2] == origin[:2] and origin[2] <= last[2]

    def count_once_per_hour(self, item_id: str, time: float) -> bool:
        """Whether the person counts for the item's popularity now; if so it is noted. At most once an hour."""
        last = self.counted.get(item_id)
        if last is not None and abs(time - last) < HOUR:
            return False
        self.counted = self.counted | {item_id: max(time, last or time)}
        if len(self.counted) > COUNTED:
            latest = max(self.counted.values())
            fresh = [(item, at) for item, at in self.counted.items() if latest - at < HOUR]
            self.counted = dict(fresh[-COUNTED // 2 :])
        return True

    # -- what readers ask --------------------------------------------------------------------------------------

    @property
    def is_unknown(self) -> bool:
        """Whether they did nothing and said nothing (since they were erased): at most, lists were shown to them."""
        told = self.onboarding is not None or self.segment is not None or self.attributes
        if self.events or self.pending or told or self.twins:
            return False
        return self.erased_at is not None or self.onboarded is None

    @property
    def is_blank(self) -> bool:
        """Whether nothing is left, or yet known, of an erased person."""
        return self.erased_at is not None and self.is_unknown and not len(self.shown)

    @property
    def is_stub(self) -> bool:
        """Whether it is only kept to forward, to stay forgotten, or for what was shown; a sweep removes such in the
        end."""
        return self.forward is not None or self.is_unknown

    def fatigue(self, now: float, until: float = math.inf) -> dict[str, float]:
        """The decayed number of times each item was shown since they last did anything with it, where it was.

        `now`, `until` in epoch seconds: with `until`, only what was shown in the minutes before then counts. Given when
        the visit began, it stays the same for the visit.
        """
        tau = decay.time_constant(self.settings.exposure_half_life_days * DAY)
        return self.shown.fatigue(now, tau, self.viewed.times, until)

    def was_left_alone(self, pause: float, began: float) -> bool:
        """Whether in an earlier visit than that which began then, they were shown something and did nothing at all.

        `pause`: seconds without anything that end a visit; `began` in epoch seconds.
        """
        return self.shown.is_any(self.last_seen + pause, began)

    def hidden(self, kinds: Iterable[str]) -> set[str]:
        """Items to leave out: of `viewed`, `purchased`, `disliked`. A later like lifts a dislike."""
        items: set[str] = set()
        for kind in kinds:
            if kind == "viewed":
                items |= self.viewed.times.keys()
            elif kind == "purchased":
                items |= self.purchased.times.keys()
            elif kind == "disliked":
                liked = self.liked.times
                items |= {i for i, at in self.disliked.times.items() if liked.get(i, -math.inf) < at}
        return items

    def history(self) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
        """The recents as a unit-length sparse vector with positional weights: (dimensions, values)."""
        weights: dict[int, float] = {}
        for position, item_id in enumerate(self.recents.newest_first()):
            dimension = item_dimension(item_id)
            weights[dimension] = weights.get(dimension, 0.0) + 0.5 ** (position / RECENT_HALF_LIFE)
        length = math.sqrt(sum(weight * weight for weight in weights.values())) or 1.0
        indices = np.fromiter(weights.keys(), dtype=np.uint32, count=len(weights))
        values = np.fromiter((w / length for w in weights.values()), dtype=np.float32, count=len(weights))
        return indices, values

    # -- as it is stored, and as it travels -----------------------------------------------------------------------

    def dense(self) -> dict[str, NDArray[np.float32]]:
        """The named dense vectors that there are, as stored: the sums themselves, float32."""
        return stored.encode_vectors(self)

    def payload(self, partition: int) -> dict[str, Any]:
        """A few filterable fields, and one string with the rest. `partition`: where the person's records are."""
        return stored.encode_payload(self, partition)

    @classmethod
    def load(
        cls, person: Person, payload: Mapping[str, Any], vectors: Mapping[str, Any], settings: ProfileSettings
    ) -> Profile:
        """The inverse of `dense` and `payload`. Raises `Misconfigured` for a state of another version."""
        profile = cls(person, settings)
        stored.decode_into(profile, payload, vectors)
        return profile

    def packed(self, partition: int) -> tuple[dict[str, Any], dict[str, str]]:
        """(payload, vectors) for a `Transfer`: the sums as float64, so that nothing is rounded on the way."""
        return stored.encode_payload(self, partition), stored.pack_vectors(self)

    @classmethod
    def unpack(
        cls, person: Person, payload: Mapping[str, Any], vectors: Mapping[str, str], settings: ProfileSettings
    ) -> Profile:
        """The inverse of `packed`. Raises ValueError, KeyError or TypeError for what isn't one."""
        return cls.load(person, payload, stored.unpack_vectors(vectors), settings)

    def shrink(self) -> bool:
        """Drop the older half of the largest sets, for a profile too large to travel; False when nothing is left."""
        largest = max(len(self.shown), *(len(getattr(self, name).times) for name in SETS))
        if largest == 0:
            return False
        for name in SETS:
            items: NewestItems = getattr(self, name)
            kept = items.to_list()[: largest // 2]
            setattr(self, name, NewestItems(items.size, dict(kept)))
        self.shown = self.shown.newest(largest // 2)
        self._prune_popularity()
        return True


def merge_profiles(one: Profile, other: Profile, taus: TimeConstants) -> Profile:
    """The profile of both event sets together, under `one`'s name; neither is changed."""
    merged = one.copy()
    merged.absorb(other, taus)
    return merged
