"""A little deployment in memory: a log, a store, the live profiler; histories to put through it, and a replay of it."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
from tests.services.profiling import SPACE
from tests.support.fake_log import FakeLog, LogProducer
from tests.support.fakes import LOG, Clock, FakeDeadLetters, FakeStore, TinyEncoder, text_vector

from eddyline.adapters.kafka import Message, OffsetAndMetadata, TopicPartition
from eddyline.adapters.kafka.ownership import commit_metadata
from eddyline.adapters.telemetry import Metrics
from eddyline.adapters.vectors import Collections, Point, generations, profile_collection, retrieve_profiles
from eddyline.errors import InvalidEvent
from eddyline.maintenance.generations.handover import NewGeneration, RebuildSource
from eddyline.maintenance.generations.rebuild import GatedOutputs, ProfileRebuild, TranslateRecord
from eddyline.maintenance.generations.replay import replay
from eddyline.model.decay import Accumulator
from eddyline.model.ids import Person, item_point_id, person_point_id
from eddyline.model.profile import SETS, VECTORS, Profile, decode_profile
from eddyline.profiler import GROUP, Profiler
from eddyline.settings import ProfileSettings, Settings
from eddyline.topics import INTERACTIONS

PARTITIONS = 4
PATIENT = Settings(profile=ProfileSettings(pending_seconds=1e9, pending=1000))
"""Nothing is given up: when that happens depends on when one looks."""
ITEM_NAMES = tuple(f"film {n} {word}" for n, word in enumerate(("war", "love", "space", "dogs", "rivers", "bread") * 3))


class Deployment:
    """One process with the live profiler, which handles what `pump` finds."""

    def __init__(self, settings: Settings = PATIENT) -> None:
        self.settings = settings
        self.clock = Clock()
        self.log = FakeLog(PARTITIONS, self.clock)
        self.producer = LogProducer(self.log)
        self.dead_letters = FakeDeadLetters()
        self.store = FakeStore(settings)
        self.said: list[str] = []
        self.add_items(*ITEM_NAMES)
        self.start()

    def start(self) -> None:
        """The profiler of the live generation, on what its group has committed."""
        self.collections = generations.live(self.store)
        self.group = generations.group_of(GROUP, self.collections.profiles)
        self.profiler = self._profiler()

    def _profiler(self) -> Profiler:
        profiler = Profiler(
            self.store,
            self.producer,
            self.dead_letters,
            self.settings.events,
            self.settings.profile,
            PARTITIONS,
            Metrics(),
            clock=self.clock,
            monotonic=self.clock,
            collections=self.collections,
            backward_window=self.settings.affinity.backward_window,
        )
        self.epoch = int(self.clock() * 1000) + 1
        profiler.assigned({TopicPartition(INTERACTIONS, p): self.epoch for p in range(PARTITIONS)})
        return profiler

    def pump(self, most: int = 100_000) -> None:
        """Handle what is there, also what that sends, and commit."""
        left = most
        while left > 0 and (moved := sum(self._pump(partition, left) for partition in range(PARTITIONS))):
            left -= moved
        self.profiler.tick()

    def _pump(self, partition: int, most: int) -> int:
        source = TopicPartition(INTERACTIONS, partition)
        position = self.log.groups[self.group].get(source)
        start = self.log.lows[source] if position is None else position.offset
        records = self.log.records[source][start : start + most]
        messages = []
        for record in records:
            try:
                messages.append(Message(record, self.profiler.parse(record)))
            except InvalidEvent as error:
                self.dead_letters.put(record, "invalid_event", str(error))
        self.profiler.handle(messages)
        if records:
            self.log.commit(
                self.group, {source: OffsetAndMetadata(start + len(records), commit_metadata(self.epoch, LOG))}
            )
        return len(records)

    def add_items(self, *names: str, collection: str = "items", encoder: TinyEncoder | None = None) -> None:
        space = encoder.space if encoder else SPACE
        self.store.upsert(
            collection,
            [
                Point(
                    item_point_id(name),
                    {"content": text_vector(name).astype(np.float32)},
                    {"item_id": name, "space": space, "meta": {"title": name, "tags": []}, "source": {"hash": "?"}},
                )
                for name in names
            ],
        )

    def profile(self, key: str, collection: str = "profiles") -> Profile | None:
        person = Person.from_key(key)
        point = retrieve_profiles(self.store, collection, [person_point_id(person)]).get(person_point_id(person))
        return None if point is None else decode_profile(person, point.payload, point.vectors, self.settings.profile)

    def replay(self, advance: Callable[[int], None] = lambda count: None, **options: Any) -> NewGeneration:
        return replay(self.source(advance), self.store, self.create, self.said.append, **options)

    def source(self, advance: Callable[[int], None] = lambda count: None) -> RebuildSource:
        def make(target: Collections, translate: TranslateRecord) -> ProfileRebuild:
            return self.rebuilding(target, advance, translate)

        return RebuildSource(self.log, LOG, make)

    def create(self, target: Collections) -> None:
        self.store.ensure(profile_collection(target.profiles))

    def rebuilding(
        self,
        target: Collections,
        advance: Callable[[int], None] = lambda count: None,
        translate: TranslateRecord = lambda record: record,
    ) -> ProfileRebuild:
        self.create(target)
        outputs = GatedOutputs(self.producer, self.dead_letters)
        return ProfileRebuild(
            self.log, self.store, outputs, self.settings, target, PARTITIONS, translate, advance, self.clock
        )

    def activity(self) -> list[str]:
        """The sources of all activity that was sent."""
        sources = [s for s in self.log.records if s.topic == "activity"]
        return sorted(orjson.loads(r.value or b"")["source"] for s in sources for r in self.log.records[s])


class History:
    """A seeded stream of everything that may happen, told to a deployment a step at a time."""

    def __init__(self, seed: int, erasures: bool = True) -> None:
        self._random = random.Random(seed)
        self._erasures = erasures
        self._said: dict[str, list[dict[str, Any]]] = {}
        self._count = 0

    def happen(self, to: Deployment, steps: int, pump: bool = True) -> None:
        """Tell it, and (where `pump`) have it handled step by step."""
        for _ in range(steps):
            self._step(to)
            if pump:
                to.pump()

    def _step(self, to: Deployment) -> None:
        rng, self._count = self._random, self._count + 1
        to.clock.forward(rng.choice([1.0, 30.0, 3600.0]))
        chance = rng.random()
        visitor, user = f"v{rng.randrange(6)}", f"p{rng.randrange(5)}"
        at = to.clock() - rng.choice([0.0, 0.0, 60.0, 86_400.0 * rng.randrange(1, 20)])
        if chance < 0.06:
            to.log.say(f"a:{visitor}", {"type": "identify", "anonymous_id": visitor, "user_id": user, "timestamp": at})
        elif chance < 0.08 and self._erasures:
            origin = {"log": "users", "partition": 0, "offset": self._count}
            to.log.say(f"u:{user}", {"type": "erased", "user_id": user, "timestamp": to.clock(), "origin": origin})
        elif chance < 0.10:
            to.log.say(f"u:{user}", {"type": "nonsense"})
        elif chance < 0.15:
            key, who = rng.choice([(f"u:{user}", {"user_id": user}), (f"a:{visitor}", {"anonymous_id": visitor})])
            to.log.say(key, {"type": "shown", **who, "timestamp": at, "items": rng.sample(ITEM_NAMES, 3)})
        else:
            self._act(to, visitor, user, at)

    def _act(self, to: Deployment, visitor: str, user: str, at: float) -> None:
        rng = self._random
        named = rng.random() < 0.5
        key = f"u:{user}" if named else f"a:{visitor}"
        said = self._said.setdefault(key, [])
        if said and rng.random() < 0.1:  # a producer that got no answer
            value = rng.choice(said)
        else:
            value = {
                "type": rng.choice(["click", "view", "like", "purchase", "dislike"]),
                "item_id": rng.choice(ITEM_NAMES) if rng.random() < 0.97 else "never made",
                "timestamp": at,
                "event_id": f"e{self._count}",
                **({"user_id": user} if named else {"anonymous_id": visitor}),
            }
            said.append(value)
        # (An anonymous one's would come before or after an identification, as it happens.)
        stray = rng.randrange(PARTITIONS) if named and rng.random() < 0.2 else None
        to.log.say(key, value, partition=stray)


def people() -> list[str]:
    return [*(f"u:p{n}" for n in range(5)), *(f"a:v{n}" for n in range(6))]


def differences(one: Profile | None, other: Profile | None, of_one_log: bool = True) -> list[str]:
    """What two profiles of a person disagree on; the epoch aside, and what depends on where records lay unless they are
    `of_one_log`."""
    if one is None or other is None:
        return [] if one is other else ["one is missing"]
    sums = zip(VECTORS, one.taste.sums, other.taste.sums, strict=True)
    found = [name for name, there, here in sums if not _near(there, here)]
    exact: list[tuple[Any, Any, tuple[str, ...]]] = [
        (one, other, ("events", "last_seen")),
        (one.seen, other.seen, (*(SETS if of_one_log else ()), "shown")),
        (one.identity, other.identity, ("merged_into", "erased_at")),
    ]
    if not of_one_log:
        found += [name for name in SETS if getattr(one.seen, name).times != getattr(other.seen, name).times]
    else:
        exact.append((one.identity, other.identity, ("linked_anonymous_ids",)))
        exact.append((one.delivery, other.delivery, ("event_ids", "watermarks", "origins", "first")))
    found += [name for a, b, names in exact for name in names if getattr(a, name) != getattr(b, name)]
    if sorted(p.value for p in one.delivery.pending) != sorted(p.value for p in other.delivery.pending):
        found.append("pending")
    return found


def wrong_profiles(it: Deployment, control: Deployment) -> dict[str, list[str]]:
    """Whose profiles differ in the two, whatever the places of their records, and in what."""
    pairs = ((key, it.profile(key), control.profile(key)) for key in people())
    return {key: found for key, one, other in pairs if (found := differences(one, other, of_one_log=False))}


def _near(one: Accumulator, other: Accumulator) -> bool:
    if one.sum is None or other.sum is None:
        return one.sum is other.sum
    return bool(np.allclose(one.sum, other.sum, rtol=1e-4, atol=1e-5 * max(1.0, one.weight)))
