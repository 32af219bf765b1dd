"""A person's profile: the state that every interaction is folded into, and its stored form.

The fold is commutative and associative in everything that ranking uses (the accumulators, and the bounded sets of
newest items), so late events and merges are exact. Folding never changes a profile in place where a copy may be shared:
take `copy()` first; a copy is cheap, since vectors and entries are never mutated.
"""

from __future__ import annotations

import math
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from eddyline.errors import Misconfigured
from eddyline.model import decay
from eddyline.model.decay import Accumulator, Vector
from eddyline.model.ids import Person, dimension_of, fingerprint
from eddyline.model.newest import NewestItems
from eddyline.model.offsets import Offsets, from_plain, lowest_of, raised, to_plain
from eddyline.model.passage import Passage, Verdict
from eddyline.settings import Profile as ProfileSettings

STATE_VERSION = 1
DAY, MINUTE, HOUR = 86_400.0, 60.0, 3_600.0
COUNTED = 128
"""Most items whose last count is kept per person."""
VECTORS = ("taste", "session", "lifetime")
"""The accumulators."""
STORED_VECTORS = (*VECTORS, "onboarding")
"""The dense vectors of a profile point."""
NOTHING = Accumulator()
SETS = ("recents", "viewed", "purchased", "disliked", "liked")
"""The bounded sets of newest items."""
TWINS = 1000
"""Most anonymous ids remembered as a user's."""


@dataclass(frozen=True, slots=True)
class TimeConstants:
    """tau of each accumulator, in seconds."""

    taste: float
    session: float
    lifetime: float

    @classmethod
    def of(cls, settings: ProfileSettings) -> TimeConstants:
        """From the half-lives of the settings."""
        return cls(
            taste=decay.time_constant(settings.taste_half_life_days * DAY),
            session=decay.time_constant(settings.session_half_life_minutes * MINUTE),
            lifetime=decay.time_constant(settings.lifetime_half_life_days * DAY),
        )


@dataclass(frozen=True, slots=True)
class Deed:
    """An interaction, ready to fold: `vector` of its item (unit length), signed `weight`, `time` in epoch seconds."""

    item_id: str
    type: str
    vector: Vector
    weight: float
    time: float
    event_id: str


@dataclass(frozen=True, slots=True)
class Pending:
    """An interaction that waits for its item: the record's bytes as text, where it was, and since when."""

    item_id: str
    value: str
    topic: str
    partition: int
    offset: int
    log: str
    timestamp: int
    since: float
    headers: tuple[tuple[str, str], ...] = ()
    """Values as Latin-1, which keeps any bytes; so does `key`."""
    key: str | None = None


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
    counted: dict[str, float] = field(default_factory=dict)
    """When this person last counted for an item's popularity (at most once an hour)."""
    onboarding: Vector | None = None
    onboarded: tuple[str, int, int] | None = None
    """(log, partition, offset) of the `users` record last applied: answers or an erasure."""
    segment: str | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    erased_at: float | None = None
    pending: tuple[Pending, ...] = ()
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
    stub_since: float | None = None
    """When this was last of use, in epoch seconds, for a profile that is only kept to forward or to stay forgotten."""

    def __post_init__(self) -> None:
        """Start with empty sets."""
        self.recents = NewestItems(self.settings.recents)
        self.viewed = NewestItems(self.settings.seen)
        self.purchased = NewestItems(self.settings.seen)
        self.disliked = NewestItems(self.settings.seen)
        self.liked = NewestItems(self.settings.seen)

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
        self.watermarks = raised(self.watermarks, log, partition, offset)
        if partition not in self.first.get(log, {}):
            self.first = lowest_of(self.first, {log: {partition: offset}})

    def receive(self, passage: Passage) -> Verdict:
        """Whether to take a record that was passed on; if so, its origin counts as applied."""
        verdict = passage.verdict(self.origins.get(passage.log, {}).get(passage.partition, -1))
        if verdict is Verdict.NEXT:
            self.origins = raised(self.origins, passage.log, passage.partition, passage.offset)
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

    def fold(self, deed: Deed, taus: TimeConstants) -> None:
        """Fold one deed in. The caller has checked the space with `accepts`.

        A deed at or before an erasure is dropped. A weight of zero changes only the counts and sets.
        """
        if self.is_over(deed.time):
            return
        if deed.weight != 0:
            self.taste = decay.fold(self.taste, deed.vector, deed.weight, deed.time, taus.taste)
            self.session = decay.fold(self.session, deed.vector, deed.weight, deed.time, taus.session)
            self.lifetime = decay.fold(self.lifetime, deed.vector, deed.weight, deed.time, taus.lifetime)
            self.evidence += abs(deed.weight)
        self.events += 1
        self.last_seen = max(self.last_seen, deed.time)
        if deed.type != "impression":
            self.viewed = self.viewed.add(deed.item_id, deed.time)
        if deed.type == "purchase":
            self.purchased = self.purchased.add(deed.item_id, deed.time)
        if deed.weight > 0:
            self.recents = self.recents.add(deed.item_id, deed.time)
            if deed.type not in ("view", "click"):
                self.liked = self.liked.add(deed.item_id, deed.time)
        elif deed.type in ("dislike", "hide", "rating") and deed.weight < 0:
            self.disliked = self.disliked.add(deed.item_id, deed.time)

    def accepts(self, space: str) -> None:
        """Take on the space of the first vector. Raises `Misconfigured` when this profile lives in another one."""
        if self.space is None:
            self.space = space
        elif self.space != space:
            raise Misconfigured(
                f"profile {self.person.key} is in space {self.space}, the items are in {space}: vectors of different "
                "models are never mixed; embed everything anew (`eddyline reembed`), or start with a new data directory"
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
            self.accepts(other.space)
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
        for item_id, at in other.counted.items():
            self.counted = self.counted | {item_id: max(at, self.counted.get(item_id, at))}
        self.pending = (*self.pending, *other.pending)
        self.event_ids = (*other.event_ids, *self.event_ids)[-self.settings.event_ids :]
        self.first = lowest_of(self.first, other.first)

    def add_twin(self, anonymous_id: str) -> None:
        """Note that an anonymous id is this user's."""
        others = (twin for twin in self.twins if twin != anonymous_id)
        self.twins = (*others, anonymous_id)[-TWINS:]

    def _has_applied(self, origin: tuple[str, int, int]) -> bool:
        """Whether this record of `users`, or a later one of the same log, was applied."""
        last = self.onboarded
        return last is not None and last[:2] == origin[:2] and origin[2] <= last[2]

    def counts(self, item_id: str, time: float) -> bool:
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
    def is_blank(self) -> bool:
        """Whether nothing is left, or yet known, of an erased person."""
        told = self.onboarding is not None or self.segment is not None or self.attributes
        return self.erased_at is not None and not (self.events or self.pending or told or self.twins)

    @property
    def is_stub(self) -> bool:
        """Whether it is only kept to forward, or to stay forgotten; a sweep removes such in the end."""
        return self.forward is not None or self.is_blank

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
            dimension = dimension_of(item_id)
            weights[dimension] = weights.get(dimension, 0.0) + 0.5 ** (position / self.settings.recents_half_life)
        length = math.sqrt(sum(weight * weight for weight in weights.values())) or 1.0
        indices = np.fromiter(weights.keys(), dtype=np.uint32, count=len(weights))
        values = np.fromiter((w / length for w in weights.values()), dtype=np.float32, count=len(weights))
        return indices, values

    # -- the stored form ----------------------------------------------------------------------------------------

    def dense(self) -> dict[str, NDArray[np.float32]]:
        """The named dense vectors that there are, as stored: the sums themselves, float32."""
        stored = {
            name: np.asarray(getattr(self, name).sum, dtype=np.float32)
            for name in VECTORS
            if getattr(self, name).sum is not None
        }
        if self.onboarding is not None:
            stored["onboarding"] = np.asarray(self.onboarding, dtype=np.float32)
        return stored

    def payload(self, partition: int) -> dict[str, Any]:
        """A few filterable fields, and one string with the rest. `partition`: where the person's records are.

        An erased person's stub doesn't say whose it is: only the point's id, a hash, does.
        """
        state = {
            "v": STATE_VERSION,
            **{name: [getattr(self, name).weight, getattr(self, name).time] for name in VECTORS},
            "evidence": self.evidence,
            "recents": self.recents.to_list(),
            "viewed": self.viewed.to_list(),
            "purchased": self.purchased.to_list(),
            "disliked": self.disliked.to_list(),
            "liked": self.liked.to_list(),
            "counted": self.counted,
            "onboarded": list(self.onboarded) if self.onboarded else None,
            "pending": [
                [p.item_id, p.value, p.topic, p.partition, p.offset, p.log, p.timestamp, p.since, p.headers, p.key]
                for p in self.pending
            ],
            "event_ids": list(self.event_ids),
            "twins": self.twins,
            **{name: to_plain(getattr(self, name)) for name in ("watermarks", "origins", "first")},
        }
        payload: dict[str, Any] = {
            "events": self.events,
            "last_seen": self.last_seen,
            "epoch": self.epoch,
            "state": orjson.dumps(state).decode(),
        }
        optional = {
            "person": None if self.is_blank else self.person.key,
            "space": self.space,
            "segment": self.segment,
            "attributes": dict(self.attributes) or None,
            "erased_at": self.erased_at,
            "waiting": partition if self.pending else None,
            "forward": None if self.forward is None else self.forward.key,
            "stub_since": self.stub_since if self.is_stub else None,
        }
        return payload | {name: value for name, value in optional.items() if value is not None}

    @classmethod
    def load(
        cls, person: Person, payload: Mapping[str, Any], vectors: Mapping[str, Any], settings: ProfileSettings
    ) -> Profile:
        """The inverse of `dense` and `payload`."""
        state = orjson.loads(payload["state"])
        if state["v"] != STATE_VERSION:
            raise Misconfigured(
                f"profile {person.key} has state version {state['v']}, this Eddyline reads {STATE_VERSION}: rebuild "
                "the profiles (`eddyline replay`), or start with a new data directory"
            )
        profile = cls(person, settings)
        profile.space = payload.get("space")
        for name in VECTORS:
            weight, time = state[name]
            vector = vectors.get(name)
            total = None if vector is None else np.asarray(vector, dtype=np.float64)
            setattr(profile, name, Accumulator(total, weight, time))
        onboarding = vectors.get("onboarding")
        profile.onboarding = None if onboarding is None else np.asarray(onboarding, dtype=np.float64)
        profile.onboarded = tuple(state["onboarded"]) if state["onboarded"] else None
        profile.evidence, profile.events = state["evidence"], payload["events"]
        profile.last_seen, profile.epoch = payload["last_seen"], payload["epoch"]
        profile.segment, profile.attributes = payload.get("segment"), payload.get("attributes") or {}
        profile.erased_at = payload.get("erased_at")
        profile.recents = NewestItems.from_list(settings.recents, state["recents"])
        for name in ("viewed", "purchased", "disliked", "liked"):
            setattr(profile, name, NewestItems.from_list(settings.seen, state[name]))
        profile.counted = state["counted"]
        profile.pending = tuple(_pending(row) for row in state["pending"])
        profile.event_ids = tuple(state["event_ids"])
        profile.twins = tuple(state["twins"])
        for name in ("watermarks", "origins", "first"):
            setattr(profile, name, from_plain(state[name]))
        profile.forward = Person.from_key(payload["forward"]) if "forward" in payload else None
        profile.stub_since = payload.get("stub_since")
        return profile

    # -- the form in which it travels ---------------------------------------------------------------------------

    def packed(self, partition: int) -> tuple[dict[str, Any], dict[str, str]]:
        """(payload, vectors) for a `Transfer`: the sums as float64, so that nothing is rounded on the way."""
        sums = {name: getattr(self, name).sum for name in VECTORS}
        vectors = {name: _base64(total) for name, total in sums.items() if total is not None}
        return self.payload(partition), vectors

    @classmethod
    def unpack(
        cls, person: Person, payload: Mapping[str, Any], vectors: Mapping[str, str], settings: ProfileSettings
    ) -> Profile:
        """The inverse of `packed`. Raises ValueError, KeyError or TypeError for what isn't one."""
        return cls.load(person, payload, {name: _floats(text) for name, text in vectors.items()}, settings)

    def shrink(self) -> bool:
        """Drop the older half of the largest sets, for a profile too large to travel; False when nothing is left."""
        largest = max(len(getattr(self, name).times) for name in SETS)
        if largest == 0:
            return False
        for name in SETS:
            items: NewestItems = getattr(self, name)
            kept = items.to_list()[: largest // 2]
            setattr(self, name, NewestItems(items.size, dict(kept)))
        return True


def _pending(row: Sequence[Any]) -> Pending:
    item_id, value, topic, partition, offset, log, timestamp, since, headers, key = row
    names_and_values = tuple((name, value) for name, value in headers)
    return Pending(item_id, value, topic, partition, offset, log, timestamp, since, names_and_values, key)


def merge(one: Profile, other: Profile, taus: TimeConstants) -> Profile:
    """The profile of both event sets together, under `one`'s name; neither is changed."""
    merged = one.copy()
    merged.absorb(other, taus)
    return merged


def _base64(vector: Vector) -> str:
    return b64encode(np.asarray(vector, dtype="<f8").tobytes()).decode()


def _floats(text: str) -> Vector:
    return np.frombuffer(b64decode(text, validate=True), dtype="<f8")
