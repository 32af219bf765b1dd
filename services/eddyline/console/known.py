"""What is known of a person, and of an item, in full: for operators, who have to explain it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import numpy as np

from eddyline.adapters.vectors import ITEMS, ROWS, Nearest, Query, VectorStore
from eddyline.errors import NotFound
from eddyline.model.affinity import positional_weights
from eddyline.model.decay import Accumulator, decayed_count_at
from eddyline.model.distance import distance_of
from eddyline.model.events import format_timestamp
from eddyline.model.ids import Person, item_point_id
from eddyline.model.listing import NEVER
from eddyline.model.profile import Profile, TimeConstants
from eddyline.model.trends import TREND_HALF_LIVES, trend_tau
from eddyline.reader.profiles import ProfileReader
from eddyline.settings import Settings

NEIGHBOURS: Final = 20
"""Items nearest to a taste by which it is put into words."""
MAX_LISTED: Final = 100
HIDDEN: Final = ("disliked", "purchased", "viewed")


class KnownPeople:
    """What is known of people. Every method may be called from any thread. `clock` in epoch seconds."""

    def __init__(self, store: VectorStore, settings: Settings, clock: Callable[[], float]) -> None:
        self._store, self._settings, self._clock = store, settings, clock
        self._profiles = ProfileReader(store, settings)
        self._taus = TimeConstants.from_settings(settings.profile)

    def describe(self, person: Person) -> dict[str, Any]:
        """Describe someone; of an anonymous id that was identified, the user. Raises `NotFound` and `Unavailable`."""
        profile = self._profiles.load(person)
        if profile is None or profile.is_unknown:
            raise NotFound(f"nothing is known of {person.key!r}")
        now, seen = self._clock(), profile.seen
        recents = seen.recents.newest_first()
        weights = positional_weights(len(recents))
        hidden = {item: kind for kind in reversed(HIDDEN) for item in seen.hidden((kind,))}
        times = seen.hidden(HIDDEN)
        newest_hidden = sorted(hidden, key=lambda item: -times[item])[:MAX_LISTED]
        shown = sorted(profile.fatigue(now).items(), key=lambda one: -one[1])[:NEIGHBOURS]
        pending = profile.delivery.pending[:MAX_LISTED]
        about = self._about([*recents, *newest_hidden, *(item for item, _ in shown)])
        return {
            "person": profile.person.key,
            "asked": person.key,
            "events": profile.events,
            "evidence": round(profile.taste.evidence, 3),
            "last_seen": _time(profile.last_seen),
            "segment": profile.identity.segment,
            "attributes": dict(profile.identity.attributes),
            "onboarded": profile.taste.onboarding is not None,
            "anonymous_ids": list(profile.identity.linked_anonymous_ids),
            "recents": [
                {**about[item], "at": _time(seen.recents.times[item]), "weight": round(float(weight), 4)}
                for item, weight in zip(recents, weights, strict=True)
            ],
            "tastes": self._tastes(profile, now),
            "hidden": [{**about[item], "kind": hidden[item], "at": _time(times[item])} for item in newest_hidden],
            "hidden_total": len(hidden),
            "shown": [{**about[item], "times": round(times_shown, 2)} for item, times_shown in shown],
            "pending": [{"item_id": one.item_id, "since": _time(one.since)} for one in pending],
        }

    def _tastes(self, profile: Profile, now: float) -> list[dict[str, Any]]:
        """Put the decayed sums, and the answers, into words: the tags and categories of the items nearest to them."""
        space, sums = profile.taste.space, profile.taste.sums
        named: list[tuple[str, Accumulator, float]] = [
            (name, getattr(sums, name), getattr(self._taus, name)) for name in ("session", "taste", "lifetime")
        ]
        tastes = []
        for name, sum_, tau in named:
            direction = sum_.direction()
            if direction is not None:
                half_life = tau * math.log(2)
                weight = round(sum_.weight_at(now, tau), 4)
                tastes.append({"name": name, "weight": weight, "half_life": half_life, **self._words(direction, space)})
        if profile.taste.onboarding is not None:
            tastes.append({"name": "answers", **self._words(profile.taste.onboarding, space)})
        return tastes

    def _words(self, vector: Any, space: str | None) -> dict[str, Any]:
        nearest = Nearest(np.asarray(vector, dtype=np.float32), "content", distance_of(space))
        payload = ("item_id", "meta.title", "meta.category", "meta.tags")
        found = self._store.query(ITEMS, [Query(nearest, NEIGHBOURS, payload=payload)])[0]
        categories: Counter[str] = Counter()
        tags: Counter[str] = Counter()
        for one in found:
            meta = one.payload.get("meta", {})
            categories.update(filter(None, [meta.get("category")]))
            tags.update(meta.get("tags") or ())
        titles = [one.payload.get("meta", {}).get("title") for one in found[:5]]
        return {"categories": categories.most_common(5), "tags": tags.most_common(8), "nearest": titles}

    def _about(self, item_ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Return id, title and category of items; without a title what there isn't (any more)."""
        points = {item_id: item_point_id(item_id) for item_id in item_ids}
        found = self._store.retrieve(ITEMS, list(dict.fromkeys(points.values())), payload=("meta",)) if points else {}
        about = {}
        for item_id, point_id in points.items():
            meta = found[point_id].payload.get("meta", {}) if point_id in found else {}
            about[item_id] = {"item_id": item_id, "title": meta.get("title"), "category": meta.get("category")}
        return about


class KnownItems:
    """What is stored of items. Every method may be called from any thread. `clock` in epoch seconds."""

    def __init__(self, store: VectorStore, clock: Callable[[], float]) -> None:
        self._store, self._clock = store, clock

    def describe(self, item_id: str) -> dict[str, Any]:
        """Describe an item: whether lists may have it, and if not why not, and how popular it is. Raises `NotFound` and
        `Unavailable`."""
        point_id, now = item_point_id(item_id), self._clock()
        point = self._store.retrieve(ITEMS, [point_id], payload=None, vectors=("content",)).get(point_id)
        row = self._store.retrieve(ROWS, [point_id], payload=None, vectors=("affinity",)).get(point_id)
        if point is None and row is None:
            raise NotFound(
                f"there is no item {item_id!r}: it was never sent, it is deleted, or it isn't embedded yet "
                "(a moment after it was accepted)"
            )
        stored: Mapping[str, Any] = {} if point is None else point.payload
        row_payload: Mapping[str, Any] = {} if row is None else row.payload
        trend = row_payload.get("trend", {})
        affinity = None if row is None else row.vectors.get("affinity")
        return {
            "item_id": item_id,
            "faults": why_not_servable(stored, now, has_vector=point is not None and "content" in point.vectors),
            "trend": {
                window: round(decayed_count_at(trend.get(window), now, trend_tau(window)), 3)
                for window in TREND_HALF_LIVES
            },
            "followed": 0 if affinity is None else len(getattr(affinity, "indices", ())),
            "listed_at": _time(stored.get("listed_at")),
            "space": stored.get("space"),
            "image": {name: value for name, value in (stored.get("image") or {}).items() if name in _IMAGE},
            "meta": stored.get("meta"),
            "offer": stored.get("offer"),
        }


_IMAGE = ("state", "reason", "message", "attempts")


def why_not_servable(stored: Mapping[str, Any], now: float, has_vector: bool) -> list[str]:
    """Say why no list has an item with this payload, at `now` (epoch seconds); nothing where lists may have it."""
    if stored.get("meta") is None:
        return ["only its price or stock has come: send the item itself"]
    faults = [] if has_vector else ["it has no vector yet: the embedder is behind, or not running"]
    if (stored.get("offer") or {}).get("available") is False:
        faults.append("it isn't available")
    begins, ends = float(stored.get("servable_from", 0.0)), float(stored.get("servable_until", NEVER))
    if begins > now:
        faults.append(f"it is published on {format_timestamp(begins)}")
    if ends <= now:
        faults.append(f"it expired on {format_timestamp(ends)}")
    return faults


def _time(seconds: float | None) -> str | None:
    return format_timestamp(seconds) if seconds else None
