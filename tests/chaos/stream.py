"""A seeded stream of what people do: with repeats, late ones, early ones, poison, visitors who become known, erasures.

The stream keeps to what has one right outcome in whatever order partitions are read, so that `truth` can tell it from
the list of events alone. Where two orders would give two outcomes, it does one of them (the comments say which).
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

import orjson

from eddyline.adapters.kafka import partition_of
from eddyline.model.signatures import RecordSigner

PARTITIONS = 4
SIGNER = RecordSigner(("what signs the records of services",))
EVENT_IDS = 64
"""Event ids that a profile remembers here: more than come between an event and its repeat, fewer than a batch may hold
of one of the bots, so that the ids alone can't hide that a batch was folded twice."""
DAY = 86_400.0
EVERY_POISON = 100
REPEATS_WITHIN = 8

Kind = Literal["interaction", "identify", "erased", "poison"]
TYPES = {
    "click": 40,
    "view": 20,
    "like": 14,
    "rating": 10,
    "save": 4,
    "skip": 4,
    "purchase": 3,
    "dislike": 3,
    "impression": 2,
}


@dataclass(eq=False)
class Event:
    """A record for `interactions`. `timestamp` is what it says itself; `partition` None: the right one.

    When it is acknowledged, `partition` and `offset` say where it is, and `arrived` (epoch seconds) when it got there.
    """

    number: int
    kind: Kind
    key: str
    value: bytes | None
    event_id: str | None = None
    item: str = ""
    type: str = ""
    rating: float | None = None
    timestamp: float | None = None
    user: str = ""
    """Of an identification: the user's key."""
    repeats: Event | None = None
    partition: int | None = None
    offset: int = -1
    arrived: float = 0.0
    sent: float = 0.0

    @property
    def misplaced(self) -> bool:
        """Whether it was sent to another partition than its person's."""
        return self.partition is not None and self.partition != partition_of(self.key.encode(), PARTITIONS)

    @property
    def place(self) -> tuple[int, int]:
        """(partition, offset)."""
        assert self.partition is not None
        return self.partition, self.offset


@dataclass(frozen=True)
class Put:
    """An item that people have touched already is put into the store."""

    item: str


@dataclass
class Someone:
    """A person and how they are. `misplaces`: their app has another partitioner."""

    key: str
    items: list[str]
    misplaces: bool = False
    weight: float = 1.0
    others: list[str] = field(default_factory=list)
    """Items for half of what they do, beside `items`."""
    old: list[str] = field(default_factory=list)
    """Items for interactions of days ago, each once: at most one interaction with an item may be far in time from the
    others, since whether two far ones count for popularity depends on their order."""
    identified: list[str] = field(default_factory=list)
    erased: bool = False
    interactions: int = 0

    @property
    def body(self) -> dict[str, str]:
        """The field that names them."""
        kind, _, name = self.key.partition(":")
        return {"user_id" if kind == "u" else "anonymous_id": name}


class Stream:
    """What happens next, again and again. `items` are in the store from the start."""

    def __init__(self, seed: int, users: int = 45, bots: int = 2, visitors: int = 40) -> None:
        rng = self._rng = random.Random(seed)
        self._seed = seed
        self.items = [f"item {n}" for n in range(400)]
        old = [f"old {n}" for n in range(30)]
        self._users = [
            Someone(
                f"u:user {n}",
                rng.sample(self.items, 30),
                misplaces=n >= 10 and rng.random() < 0.25,  # the busiest don't, see `_repeat`
                weight=1 / (n + 3),
                old=rng.sample(old, 20),
            )
            for n in range(users)
        ]
        self._bots = [Someone(f"u:bot {n}", rng.sample(self.items, 5)) for n in range(bots)]
        self._visitors = [
            Someone(f"a:visitor {n}", rng.sample(self.items, 12), misplaces=rng.random() < 0.25)
            for n in range(visitors)
        ]
        # Who has opened all that they ever open makes no more activity, since an item counts once an hour for a person;
        # with what they open again and again these are fewer than a profile remembers.
        for someone in (*self._users, *self._visitors):
            someone.others = rng.sample(self.items, 45)
        self.items += old
        self._number = 0
        self._due: list[tuple[int, Event]] = []
        self._late: tuple[str, float] | None = None  # an item that isn't there yet, and when it comes
        self._arrived: list[str] = []
        self._count = {"late": 0, "never": 0}

    @property
    def people(self) -> list[str]:
        """Every key."""
        return [one.key for one in (*self._users, *self._bots, *self._visitors)]

    def step(self, now: float, unknown_items: bool = True) -> Iterator[Event | Put]:
        """What happens next, at `now` (epoch seconds): one thing, or a burst of one person's clicks.

        `unknown_items`: whether some of it may be about items that aren't in the store yet, or never will be.
        """
        now = round(now, 3)
        if self._late is not None and now >= self._late[1]:
            item, self._late = self._late[0], None
            self._arrived.append(item)
            yield Put(item)
        while self._due and self._due[0][0] <= self._number:
            yield self._repeated(self._due.pop(0)[1])
        if self._number % EVERY_POISON == EVERY_POISON - 1:
            yield self._poison(now)
            return
        chance = self._rng.random()
        if chance < 0.003:
            yield from self._burst(now)
        elif chance < 0.02:
            yield from self._identify(now)
        elif chance < 0.025:
            yield from self._erase()
        else:
            yield self._act(now, unknown_items)

    def finish(self) -> Iterator[Event | Put]:
        """What is still to come when the stream ends."""
        yield from (self._repeated(event) for _, event in self._due)
        if self._late is not None:
            yield Put(self._late[0])

    # -- what people do -----------------------------------------------------------------------------------------

    def _act(self, now: float, unknown_items: bool) -> Event:
        rng = self._rng
        someone = self._somebody()
        someone.interactions += 1
        chance, at = rng.random(), self._recently(now)
        if chance < 0.02 and someone.old:
            item, at = someone.old.pop(), now - rng.uniform(1, 5) * DAY
        elif chance < 0.04:
            item, at = rng.choice(someone.items), now + rng.uniform(60, 0.9 * DAY)
        elif chance < 0.06 and unknown_items:
            item = self._late_item(now)
        elif chance < 0.07 and unknown_items:
            self._count["never"] += 1
            item = f"never {self._count['never']}"
        elif chance < 0.09 and self._arrived:
            item = rng.choice(self._arrived)
        elif chance < 0.5:
            item = rng.choice(someone.others or someone.items)
        else:
            item = rng.choice(someone.items)
        return self._interaction(someone, item, at, self._choose_type(), now)

    def _somebody(self) -> Someone:
        visitors = [visitor for visitor in self._visitors if not visitor.erased]
        if visitors and self._rng.random() < 0.35:
            return self._rng.choice(visitors)
        return self._rng.choices(self._users, [user.weight for user in self._users])[0]

    def _recently(self, now: float) -> float | None:
        """A little late, so that what arrives isn't in the order in which it happened; or without a time."""
        if self._rng.random() < 0.2:
            return None
        return now - min(600.0, self._rng.expovariate(1 / 30))

    def _choose_type(self) -> str:
        return self._rng.choices(list(TYPES), list(TYPES.values()))[0]

    def _late_item(self, now: float) -> str:
        if self._late is None:
            self._count["late"] += 1
            self._late = f"late {self._count['late']}", now + self._rng.uniform(0.2, 0.7)
        return self._late[0]

    def _burst(self, now: float) -> Iterator[Event]:
        bot, at_once, at = self._rng.choice(self._bots), self._rng.random() < 0.5, self._recently(now)
        for _ in range(self._rng.randint(100, 180)):
            if self._number % EVERY_POISON == EVERY_POISON - 1:
                yield self._poison(now)
            yield self._interaction(
                bot, self._rng.choice(bot.items), at if at_once else self._recently(now), "click", now
            )

    def _interaction(self, someone: Someone, item: str, at: float | None, type: str, now: float) -> Event:
        rng = self._rng
        at = None if at is None else round(at, 3)
        value: dict[str, object] = {"type": type, "item_id": item, **someone.body}
        event_id = f"event {self._seed}-{self._number}" if item.startswith("never") or rng.random() < 0.9 else None
        rating = rng.randint(2, 10) / 2 if type == "rating" else None
        optional = {"event_id": event_id, "timestamp": at, "value": rating}
        value |= {name: given for name, given in optional.items() if given is not None}
        event = Event(
            self._next(),
            "interaction",
            someone.key,
            orjson.dumps(value),
            event_id=event_id,
            item=item,
            type=type,
            rating=rating,
            timestamp=at,
            partition=self._place(someone),
        )
        self._repeat(event, now)
        return event

    # -- who they are -------------------------------------------------------------------------------------------

    def _identify(self, now: float) -> Iterator[Event]:
        """A visitor is identified; sometimes again, as the same user or as another one.

        Nobody becomes a user who was erased: whether what they did before the erasure counts would depend on whether
        it was handed over or forwarded. One who misplaces isn't identified as a second user: which of their events came
        between would be open.
        """
        known = [one for one in self._visitors if not one.erased and one.interactions >= 3]
        users = [user for user in self._users if not user.erased]
        if not known or not users:
            return
        visitor, user = self._rng.choice(known), self._rng.choice(users)
        if visitor.identified and (visitor.misplaces or self._rng.random() < 0.5):
            user = next((one for one in users if one.key == visitor.identified[-1]), user)
            if user.key != visitor.identified[-1]:
                return
        visitor.identified.append(user.key)
        event_id = f"event {self._seed}-{self._number}"
        value = {"type": "identify", **visitor.body, **user.body, "event_id": event_id, "timestamp": now}
        event = Event(
            self._next(),
            "identify",
            visitor.key,
            orjson.dumps(value),
            event_id=event_id,
            timestamp=now,
            user=user.key,
            partition=self._place(visitor),
        )
        yield event
        if len(set(visitor.identified)) == 1:
            self._repeat(event, now)

    def _erase(self) -> Iterator[Event]:
        """A user is erased. Whoever sends it waits until all before is acknowledged, and gives it its time.

        Nothing more comes of the anonymous ids that are theirs: whether it went to them would be a question of who
        hears of the erasure first.
        """
        user = self._rng.choice(self._users[5:])
        user.erased = True
        for visitor in self._visitors:
            if visitor.identified and visitor.identified[-1] == user.key:
                visitor.erased = True
        yield Event(self._next(), "erased", user.key, None)

    # -- what producers do --------------------------------------------------------------------------------------

    def _poison(self, now: float) -> Event:
        rng = self._rng
        someone = rng.choice(self._users)
        good = {
            "type": "click",
            "item_id": rng.choice(self.items),
            **someone.body,
            "event_id": f"poison {self._number}",
        }
        value = rng.choice(
            (
                b"\x00\xff not JSON",
                b"[]",
                None,
                orjson.dumps({**good, "type": "teleport"}),
                orjson.dumps({**good, "type": "rating"}),
                orjson.dumps({**good, "timestamp": now + 3 * DAY}),
                orjson.dumps({name: value for name, value in good.items() if name != "item_id"}),
                orjson.dumps({name: value for name, value in good.items() if name != "user_id"}),
            )
        )
        return Event(self._next(), "poison", someone.key, value, partition=rng.randrange(PARTITIONS))

    def _place(self, someone: Someone) -> int | None:
        if not someone.misplaces or self._rng.random() < 0.5:
            return None
        right = partition_of(someone.key.encode(), PARTITIONS)
        return self._rng.choice([number for number in range(PARTITIONS) if number != right])

    def _repeat(self, event: Event, now: float) -> None:
        """Have it sent again soon, the very same bytes.

        What is misplaced isn't: between its passing on and its repeat's, the owner may be away for long, and more of
        the person's events come than their profile remembers ids of. What has no time of its own before now isn't
        either: an erasure between the two would part them.
        """
        is_past = event.timestamp is not None and event.timestamp <= now
        if not is_past or event.event_id is None or event.partition is not None or "bot" in event.key:
            return
        if self._rng.random() < 0.06:
            self._due.append((self._number + self._rng.randint(0, REPEATS_WITHIN), event))
            self._due.sort(key=lambda due: due[0])

    def _repeated(self, event: Event) -> Event:
        return replace(event, number=self._next(), repeats=event, partition=None, offset=-1, arrived=0.0, sent=0.0)

    def _next(self) -> int:
        self._number += 1
        return self._number - 1
