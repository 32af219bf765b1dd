"""A log in memory, real profilers that read it, and an audit of what they store."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import orjson
from tests.services.profiling import SPACE, Profiling
from tests.support.fakes import LOG, text_vector

from eddyline.adapters.kafka import LogReader, Message, OffsetAndMetadata, Outgoing, Record, Watermarks, partition_of
from eddyline.adapters.vectors import ITEMS, PROFILES, Point
from eddyline.errors import InvalidEvent
from eddyline.maintenance.audit import AuditReport, Everyone, PeopleSelection, audit
from eddyline.model.ids import Person, item_point_id, person_point_id
from eddyline.model.profile import Profile, encode_payload
from eddyline.settings import EventSettings, ProfileSettings, Settings

PARTITIONS = 4


class FakeLog(LogReader):
    """The partitions of `interactions`, and what the profilers have committed of them; `activity` holds nothing."""

    def __init__(self, partitions: int = PARTITIONS) -> None:
        self.partitions: list[list[Record]] = [[] for _ in range(partitions)]
        self.handled: dict[int, int | None] = dict.fromkeys(range(partitions))
        self.lows = [0] * partitions
        self.was_read: Callable[[], object] = lambda: None
        """Called when a partition was read to the end that was asked for."""

    def append(
        self, key: str, value: bytes | None, at: float, headers: Any = (), partition: int | None = None
    ) -> Record:
        where = partition_of(key.encode(), len(self.partitions)) if partition is None else partition
        offset = len(self.partitions[where])
        record = Record("interactions", where, offset, key.encode(), value, round(at * 1000), LOG, headers)
        self.partitions[where].append(record)
        return record

    def bounds(self, topic: str) -> dict[int, Watermarks]:
        if topic == "activity":
            return {}
        assert topic == "interactions"
        return {n: Watermarks(self.lows[n], len(records)) for n, records in enumerate(self.partitions)}

    def read(self, topic: str, partition: int, start: int, end: int) -> Generator[Record, None, None]:
        assert topic == "interactions"
        yield from self.partitions[partition][max(start, self.lows[partition]) : end]
        self.was_read()

    def committed(self, group: str, topic: str) -> dict[int, OffsetAndMetadata | None]:
        if topic == "activity":
            return {}
        assert (group, topic) == ("profiler", "interactions")
        return {n: None if at is None else OffsetAndMetadata(at, "") for n, at in self.handled.items()}


class Auditing:
    """People do things, profilers follow, an audit looks."""

    def __init__(self, settings: ProfileSettings = ProfileSettings(), events: EventSettings = EventSettings()) -> None:
        self.log = FakeLog()
        self.it = Profiling(settings, PARTITIONS, events)
        self.settings = Settings(profile=settings, events=events)
        self._sent = 0
        self.lose: Callable[[Outgoing], bool] = lambda _: False
        """What is sent and acknowledged, and yet never in the log."""
        self.during: list[Callable[[], object]] = []
        """What happens after a partition was read, each time; then nothing."""

    # -- what happens ---------------------------------------------------------------------------------------------

    def add_items(self, *item_ids: str, embeddings: int = 1, text: str | None = None) -> None:
        """Embed these now."""
        source = {"embedded_at": self.it.clock(), "embeddings": embeddings}
        self.it.store.upsert(
            ITEMS,
            [
                Point(
                    item_point_id(item_id),
                    {"content": text_vector(text or item_id).astype("float32")},
                    {"item_id": item_id, "space": SPACE, "meta": {"title": item_id}, "source": source},
                )
                for item_id in item_ids
            ],
        )

    def say(self, key: str, partition: int | None = None, **value: Any) -> Record:
        """A record under that key, arriving now."""
        person = Person.from_key(key)
        names = {"u": "user_id", "a": "anonymous_id"}
        whole = {"type": "click", names[person.kind]: person.id, **value}
        return self.log.append(key, orjson.dumps(whole), self.it.clock(), partition=partition)

    def identify(self, visitor: str, user: str, **value: Any) -> Record:
        return self.say(f"a:{visitor}", type="identify", user_id=user, **value)

    def erase(self, user: str, at: float, source: int) -> Record:
        origin = {"log": "users-log", "partition": 0, "offset": source}
        return self.say(f"u:{user}", type="erased", timestamp=at, origin=origin)

    def answer(self, user: str, source: int, **value: Any) -> Record:
        origin = {"log": "users-log", "partition": 0, "offset": source}
        return self.say(f"u:{user}", type="onboarded", origin=origin, **value)

    # -- what is made of it ---------------------------------------------------------------------------------------

    def work(self, batch: int = 50) -> None:
        """Profilers handle everything in the log, and what that puts there."""
        while any((self.log.handled[n] or 0) < len(records) for n, records in enumerate(self.log.partitions)):
            for n in range(len(self.log.partitions)):
                self.work_on(n, batch)

    def work_on(self, partition: int, batch: int = 50) -> None:
        """Handle and commit one batch of a partition."""
        start = self.log.handled[partition] or 0
        records = self.log.partitions[partition][start : start + batch]
        self.fold(records)
        self.log.handled[partition] = start + len(records)

    def fold(self, records: list[Record]) -> None:
        """Handle without committing."""
        messages = []
        for record in records:
            try:
                messages.append(Message(record, self.it.profiler.parse(record)))
            except InvalidEvent:
                self.it.dead_letters.put(record, "invalid_event", "")
        self.it.profiler.handle(messages)
        self.flow()

    def flow(self, arrives: Callable[[Outgoing], bool] = lambda _: True) -> None:
        """What was sent reaches the log, as far as it `arrives`."""
        outgoing = self.it.producer.to("interactions")
        for one in outgoing[self._sent :]:
            if arrives(one) and not self.lose(one):
                self.deliver(one)
        self._sent = len(outgoing)

    def deliver(self, one: Outgoing) -> None:
        assert one.key is not None
        self.log.append(one.key.decode(), one.value, self.it.clock(), one.headers)

    def restart(self, epoch: int) -> None:
        self.it.restart(epoch)

    def tick(self) -> None:
        self.it.profiler.tick()

    # -- what is stored -------------------------------------------------------------------------------------------

    def stored(self, key: str) -> Profile:
        return self.it.stored(key)

    def tamper(self, key: str, change: Callable[[Profile], None]) -> None:
        """Change a stored profile behind everyone's back."""
        profile = self.stored(key)
        change(profile)
        self.put(profile)

    def spoil_everyone(self) -> None:
        """Make every profile wrong."""
        for point in self.it.store.scroll(PROFILES, limit=1000)[0]:
            if "person" in point.payload:
                self.tamper(point.payload["person"], lambda profile: setattr(profile, "events", 1000))

    def put(self, profile: Profile) -> None:
        """Store a profile."""
        partition = partition_of(profile.person.key.encode(), PARTITIONS)
        point = Point(person_point_id(profile.person), {}, encode_payload(profile, partition))
        self.it.store.upsert(PROFILES, [point])

    def remove(self, key: str) -> None:
        self.it.store.delete(PROFILES, [person_point_id(Person.from_key(key))])

    def remove_item(self, item_id: str) -> None:
        self.it.store.delete(ITEMS, [item_point_id(item_id)])

    def audit(self, who: PeopleSelection = Everyone(), **more: Any) -> AuditReport:
        left = iter(self.during)
        self.log.was_read = lambda: next(left, lambda: None)()
        return audit(self.log, self.it.store, self.settings, who, clock=self.it.clock, **more)
