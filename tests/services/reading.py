"""A shop full of items and people, made by the services themselves, and a reader over it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from tests.services.profiling import click
from tests.services.serving import served
from tests.support.fakes import (
    NOW,
    Clock,
    FakeDeadLetters,
    FakeProducer,
    FakeStore,
    TinyEncoder,
    feed,
    record,
    redelivered,
)

from eddyline.adapters.kafka import Record, TopicPartition
from eddyline.adapters.telemetry import Metrics
from eddyline.affinity import AffinityLearner
from eddyline.embedder.handler import Embedder
from eddyline.model.distance import Distance, space_of
from eddyline.profiler import Profiler
from eddyline.reader import Reader, router
from eddyline.settings import AttributeKind, Settings

SETTINGS = Settings(attributes={"brand": AttributeKind.KEYWORD, "year": AttributeKind.INTEGER})
DAY = 86_400.0


class Shop:
    """Embedder, profiler, affinity and reader on one store, under one clock."""

    def __init__(self, settings: Settings = SETTINGS, store: Any = None) -> None:
        """`store`: one with its collections, in place of a new one in memory."""
        self.store = FakeStore(settings) if store is None else store
        self.clock = Clock()
        self.monotonic = Clock(0.0)
        self._producer = FakeProducer()
        self._offset = 0
        self.encoder = TinyEncoder(space_of(Distance.named(settings.encoder.distance), "tiny-t1"))
        self.embedder = Embedder(self.store, self.encoder, self._producer, Metrics())
        self.affinity = AffinityLearner(self.store)
        self.affinity.assigned({TopicPartition("activity", 0): 1})
        self.profiler = Profiler(
            self.store,
            self._producer,
            FakeDeadLetters(),
            settings.events,
            settings.profile,
            1,
            Metrics(),
            clock=self.clock,
            monotonic=self.monotonic,
        )
        self.profiler.assigned({TopicPartition("interactions", 0): 1})
        self.metrics = Metrics()
        self._settings = settings
        self.reader = self.new_reader()
        self.client: httpx.Client

    def new_reader(self, **more: Any) -> Reader:
        """A reader of this shop, e.g. one that reports what it serves."""
        return Reader(self.store, self._settings, self.metrics, self.clock, self.monotonic, **more)

    def put(self, *items: dict[str, Any]) -> None:
        feed(
            self.embedder,
            *(record("content", one["item_id"], one, self._next(), at=self.clock()) for one in items),
        )
        self._pass_on()

    def delete(self, item_id: str) -> None:
        feed(self.embedder, record("content", item_id, None, self._next(), at=self.clock()))
        self._pass_on()

    def offer(self, item_id: str, **said: Any) -> None:
        value = {"item_id": item_id, "available": True, "price": None, **said}
        feed(self.embedder, record("availability", item_id, value, self._next(), at=self.clock()))
        self._pass_on()

    def user(self, user_id: str, answers: dict[str, Any] | None) -> None:
        """Put a person, or erase them (None)."""
        value = None if answers is None else {"user_id": user_id, **answers}
        feed(self.embedder, record("users", user_id, value, self._next(), at=self.clock()))
        self._pass_on()

    def did(self, user: str, item: str, kind: str = "click", ago: float = 0.0, **more: Any) -> None:
        """Someone did something; `user` "a:…" is an anonymous person."""
        at = self.clock() - ago
        if user.startswith("a:"):
            more |= {"user_id": None, "anonymous_id": user[2:], "key": user}
        one = click(self._next(), item, user=user, type=kind, at=at, arrived=self.clock(), **more)
        self._fold(one)
        self._pass_on()

    def identify(self, anonymous_id: str, user_id: str) -> None:
        """Someone signed in."""
        said = {"type": "identify", "anonymous_id": anonymous_id, "user_id": user_id, "timestamp": self.clock()}
        self._fold(record("interactions", f"a:{anonymous_id}", said, self._next(), at=self.clock()))
        self._pass_on()

    def get(self, path: str, **params: Any) -> httpx.Response:
        return self.client.get(path, params=params)

    def recommend(self, user: str | None = None, **params: Any) -> dict[str, Any]:
        answer = self.client.get(f"/v1/users/{user}/recommendations", params=params)
        assert answer.status_code == 200, answer.text
        said: dict[str, Any] = answer.json()
        return said

    def pages(self, path: str, **params: Any) -> list[dict[str, Any]]:
        """Every page of a list, to its end."""
        return pages(lambda cursor: self.get(path, **params, **cursor))

    def ask(self, **body: Any) -> httpx.Response:
        return self.client.post("/v1/recommendations", json=body)

    def asked(self, **body: Any) -> dict[str, Any]:
        answer = self.ask(**body)
        assert answer.status_code == 200, answer.text
        said: dict[str, Any] = answer.json()
        return said

    @contextmanager
    def open(self) -> Iterator[Shop]:
        checks = {"vectors": self.store.check}
        with served(router(self.reader, 100_000), metrics=self.metrics, checks=checks) as self.client:
            yield self

    def _next(self) -> int:
        self._offset += 1
        return self._offset

    def _fold(self, one: Record) -> None:
        feed(self.profiler, one)

    def _pass_on(self) -> None:
        """What services said to each other."""
        while self._producer.sent:
            sent, self._producer.sent = self._producer.sent, []
            records = [redelivered(one, self._next(), at=self.clock()) for one in sent]
            feed(self.affinity, *(one for one in records if one.topic == "activity"))
            feed(self.profiler, *(one for one in records if one.topic != "activity"))


def stocked(settings: Settings = SETTINGS, store: Any = None) -> Shop:
    """Twenty films about space and twenty about kitchens, told apart by their words."""
    shop = Shop(settings, store)
    shop.put(
        *(
            {
                "item_id": f"space{n}",
                "title": f"alien starship galaxy orbit {n}",
                "category": "space",
                "tags": ["film", "even" if n % 2 == 0 else "odd"],
                "language": "en",
                "price": float(n),
                "published_at": NOW - n * DAY,
                "url": f"https://films/space/{n}",
                "attributes": {"brand": "acme", "year": 1980 + n, "loud": True},
            }
            for n in range(20)
        ),
        *(
            {
                "item_id": f"kitchen{n}",
                "title": f"bread butter oven recipe {n}",
                "category": "kitchen",
                "tags": ["film"],
                "language": "de",
                "published_at": NOW - (n + 0.5) * DAY,
                "attributes": {"brand": "bakers", "year": 2000 + n},
            }
            for n in range(20)
        ),
    )
    return shop


def pages(get: Callable[[dict[str, str]], httpx.Response]) -> list[dict[str, Any]]:
    """Every page of a list, to its end; fails where an item comes again, or the ranks don't go on."""
    found: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        answer = get(cursor)
        assert answer.status_code == 200, answer.text
        found.append(answer.json())
        if found[-1]["next"] is None:
            break
        cursor = {"next": found[-1]["next"]}
    items = [item for page in found for item in page["items"]]
    assert len({item["item_id"] for item in items}) == len(items)
    assert [item["rank"] for item in items] == list(range(1, len(items) + 1))
    return found


def ids(answer: dict[str, Any]) -> list[str]:
    return [item["item_id"] for item in answer["items"]]


def share(answer: dict[str, Any], kind: str) -> float:
    """How much of a list is about this."""
    return sum(item_id.startswith(kind) for item_id in ids(answer)) / len(answer["items"])
