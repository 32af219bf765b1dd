"""Histories made up by a seeded chance: all that people, applications, embedders and crashes do to profiles."""

from __future__ import annotations

import random
from contextlib import suppress

from tests.maintenance.auditing import PARTITIONS, Auditing

from eddyline.errors import Unavailable
from eddyline.settings import ProfileSettings

ITEMS = [f"item-{n}" for n in range(12)]
USERS = ["ada", "bob", "cyd"]
VISITORS = ["v1", "v2", "v3", "v4"]
TYPES = ["view", "click", "like", "purchase", "dislike", "impression", "rating", "skip"]


class History:
    """A run of one seed: `live` makes it happen, and leaves everything handled."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        few = self.chance.random() < 0.5
        self.settings = ProfileSettings(
            event_ids=self.chance.choice([4, 200]),
            exposures=self.chance.choice([6, 300]),
            recents=3 if few else 50,
            seen=4 if few else 500,
            pending_seconds=self.chance.choice([60, 900]),
            cached_profiles=self.chance.choice([1, 100]),
        )
        self.a = Auditing(self.settings)
        self.epoch, self.tombstones, self.said = 1, 0, 0
        self.ids: list[str] = []
        self.erasures: list[tuple[str, float, int]] = []
        self.a.add_items(*ITEMS[:6])
        self.to_come = ITEMS[6:]

    def live(self, steps: int) -> Auditing:
        actions = (
            [self.act] * 24
            + [self.show] * 6
            + [self.work, self.crash, self.item_comes] * 3
            + [self.identify] * 4
            + [self.wait]
            + [self.erase, self.answer, self.nonsense, self.restart]
        )
        for _ in range(steps):
            self.chance.choice(actions)()
        self.a.work()
        self.a.tick()
        self.a.work()
        return self.a

    def someone(self) -> str:
        return self.chance.choice([f"u:{name}" for name in USERS] + [f"a:{name}" for name in VISITORS])

    def act(self) -> None:
        key = self.someone()
        kind = self.chance.choice(TYPES)
        more: dict[str, object] = {"type": kind, "item_id": self.chance.choice(ITEMS)}
        if kind == "rating":
            more["value"] = self.chance.choice([0.5, 2.75, 3.0, 5.0])
        if self.chance.random() < 0.7:
            more["timestamp"] = self.a.it.clock() - self.chance.choice([0, 0.1234567, 1, 60, 3600, 86_400 * 3, -3600])
        if self.chance.random() < 0.7:
            repeat = self.ids and self.chance.random() < 0.3
            more["event_id"] = self.chance.choice(self.ids[-8:]) if repeat else f"e{len(self.ids)}"
            self.ids.append(str(more["event_id"]))
        if key[0] == "u" and self.chance.random() < 0.2:
            more["anonymous_id"] = self.chance.choice(VISITORS)
        self.a.say(key, self.a_partition(), **more)
        self.a.it.clock.forward(self.chance.choice([0, 0.001, 1, 30]))

    def show(self) -> None:
        at = self.a.it.clock() - self.chance.choice([0, 0.1234567, 30, 60, 3600, -3600])
        items = self.chance.choices(ITEMS, k=self.chance.choice([1, 4]))
        key, more = self.someone(), {}
        if key[0] == "u" and self.chance.random() < 0.3:
            more["anonymous_id"] = self.chance.choice(VISITORS)
        self.a.say(key, self.a_partition(), type="shown", timestamp=at, items=items, **more)

    def a_partition(self) -> int | None:
        """Now and then one that may be wrong."""
        return self.chance.randrange(PARTITIONS) if self.chance.random() < 0.15 else None

    def identify(self) -> None:
        more: dict[str, object] = {}
        if self.chance.random() < 0.5:
            more["timestamp"] = self.a.it.clock() - self.chance.choice([0, 0.1234567, 10, 500])
        if self.chance.random() < 0.3 and self.ids:
            more["event_id"] = self.chance.choice(self.ids[-8:])
        self.a.identify(self.chance.choice(VISITORS), self.chance.choice(USERS), **more)

    def erase(self) -> None:
        if self.erasures and self.chance.random() < 0.3:  # an embedder that crashed tells it again
            self.a.erase(*self.chance.choice(self.erasures))
            return
        self.tombstones += 1
        self.erasures.append((self.chance.choice(USERS), self.a.it.clock() - 0.25, self.tombstones))
        self.a.erase(*self.erasures[-1])

    def answer(self) -> None:
        self.tombstones += 1
        self.a.answer(self.chance.choice(USERS), self.tombstones, segment=self.chance.choice(["new", None]))

    def nonsense(self) -> None:
        self.a.log.append(self.someone(), self.chance.choice([b"{", b"{}", None]), self.a.it.clock())

    def wait(self) -> None:
        self.a.it.clock.forward(self.chance.choice([1, 20, 100, 2000]))
        self.a.tick()

    def item_comes(self) -> None:
        if self.to_come:
            self.a.add_items(self.to_come.pop())
        if self.chance.random() < 0.5:
            self.a.tick()

    def work(self) -> None:
        self.a.work_on(self.chance.randrange(PARTITIONS), self.chance.choice([1, 3, 20]))

    def restart(self) -> None:
        self.epoch += 1
        self.a.restart(self.epoch)

    def crash(self) -> None:
        """In the middle of a batch: what was sent may be in the log or not, the profiles are as before."""
        self.a.it.store.down = {"upsert"}
        partition = self.chance.randrange(PARTITIONS)
        start = self.a.log.handled[partition] or 0
        with suppress(Unavailable):
            self.a.fold(self.a.log.partitions[partition][start : start + 20])
        self.a.it.store.down = set()
        self.a.flow(lambda _: self.chance.random() < 0.7)
        self.restart()
        if self.chance.random() < 0.5:  # durable, but not committed
            self.a.fold(self.a.log.partitions[partition][start : start + 20])
            self.restart()
