"""Poison of every kind, for every topic that somebody consumes: records that must become dead letters and change
nothing else."""

from __future__ import annotations

import struct
import zlib
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import orjson
from tests.support.fakes import text_vector

from eddyline.model.ids import Person
from eddyline.model.profile import Profile, TimeConstants, WeightedInteraction, pack_profile
from eddyline.model.profile.delivery import PendingInteraction
from eddyline.model.profile.state import DICTIONARY, MAX_INFLATED
from eddyline.settings import ProfileSettings

SPACE = "tiny-t1"
INVALID, FAILED = "invalid_event", "handler_failed"
BREAKS = "breaks-its-handler"
"""The header (of impressions: the request id) of a record that the handlers under test raise at by themselves."""
BROKEN = "u:broken"
"""Whose such a record is."""
YEARS = 3e8
"""Seconds: some nine years."""
Headers = tuple[tuple[str, bytes | None], ...]


@dataclass(frozen=True)
class Poison:
    """A record, `name`d for whoever reads of it, and the `reason` of its dead letter. `misplaced`: it goes to another
    partition than its key's."""

    topic: str
    name: str
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    reason: str = INVALID
    misplaced: bool = False


def all_poison(now: float, user: str, item: str) -> list[Poison]:
    """One of each kind, at `now` (epoch seconds). `user` and `item` exist, and are the victims."""
    return [
        *_unreadable(),
        *_bad_keys(),
        *_interactions(now, user, item),
        *_forged(now, user),
        *_catalogue(now, item),
        *_impressions(now, user, item),
        *_activity(now, item),
        *_breaking(now, item),
    ]


TOPICS = ("interactions", "impressions", "content", "availability", "users", "activity")


def _unreadable() -> Iterator[Poison]:
    values: Mapping[str, bytes] = {
        "not JSON": b"\x00\xff{rubbish",
        "another schema": b'{"what": "is this"}',
        "a list": b"[]",
        "nested deeply": b"[" * 50_000,
        "NaN": b'{"item_id": "a", "weight": NaN}',
        "nothing": b"",
    }
    for topic in TOPICS:
        for name, value in values.items():
            if topic == "interactions" or name not in ("a list", "NaN"):
                yield Poison(topic, name, b"u:ada", value)
    for topic in ("interactions", "impressions", "activity"):
        yield Poison(topic, "a tombstone", b"u:ada", None)


def _bad_keys() -> Iterator[Poison]:
    keys = {"no": None, "an empty": b"", "a binary": b"\xff\xfe", "too long a": b"x" * 600, "a NUL": b"a\0b"}
    for topic in ("content", "availability", "users"):
        for name, key in keys.items():
            yield Poison(topic, f"a tombstone under {name} key", key, None)
    body = orjson.dumps({"item_id": "one", "title": "One"})
    yield Poison("content", "another id than its key", b"two", body)
    yield Poison("content", "an id, but no key", None, body)


def _interactions(now: float, user: str, item: str) -> Iterator[Poison]:
    click = {"type": "click", "user_id": user, "item_id": item, "timestamp": now}
    changes: Mapping[str, Mapping[str, Any]] = {
        "too long an id": {"item_id": "x" * 600},
        "an id of what JSON escapes": {"item_id": "\x01" * 200},
        "a number for a type": {"type": 5},
        "an unknown type": {"type": "teleport"},
        "nobody": {"user_id": "undefined"},
        "years ahead": {"timestamp": now + YEARS},
        "before time": {"timestamp": "0001-01-01T00:00:00Z", "type": "view"},
        "a lone surrogate": {"item_id": "surrogate"},
    }
    for name, change in changes.items():
        value = orjson.dumps({**click, **change}).replace(b'"surrogate"', b'"\\ud800"')
        yield Poison("interactions", name, f"u:{user}".encode(), value)
    odd_headers: Mapping[str, Headers] = {
        "rubbish for an origin": (("eddyline-origin", b"\xff\xfe"),),
        "an origin of no log": (("eddyline-origin", b"log:-1:99999999999999999999"), ("eddyline-after", b"x")),
        "large headers": (("x", b"x" * 20_000),),
        "many headers": tuple((f"h{n}", b"v" * 20) for n in range(1000)),
        "headers of a dead letter": (("eddyline-dlq-reason", b"\xff"), ("eddyline-origin", b""), ("n", None)),
    }
    for name, headers in odd_headers.items():
        yield Poison("interactions", name, f"u:{user}".encode(), orjson.dumps(click), headers)


# -- records that only our own services write -------------------------------------------------------------------------


def _forged(now: float, user: str) -> Iterator[Poison]:
    key = f"u:{user}".encode()
    for name, transfer in _transfers(now, user).items():
        yield Poison("interactions", f"a transfer: {name}", key, orjson.dumps(transfer))
    origin = {"log": "users", "partition": 0, "offset": 10**12}
    vector = [float(x) for x in text_vector("rivers")]
    answers: Mapping[str, Mapping[str, Any]] = {
        "another space": {"vector": vector, "space": "other-t1"},
        "no space": {"vector": vector},
        "another length": {"vector": [1.0, 2.0, 3.0], "space": SPACE},
        "huge numbers": {"vector": [1e300] * len(vector), "space": SPACE},
        "too many attributes": {"attributes": {"a": "x" * 20_000}},
        "origin of text": {"origin": {**origin, "offset": "last"}},
    }
    for name, change in answers.items():
        value = {"type": "onboarded", "user_id": user, "origin": origin, **change}
        yield Poison("interactions", f"answers: {name}", key, orjson.dumps(value))
    erased = {"type": "erased", "user_id": user, "timestamp": now + YEARS, "origin": origin}
    yield Poison("interactions", "erased for years to come", key, orjson.dumps(erased))
    shown = {"type": "shown", "user_id": user, "timestamp": now, "items": [f"i{n}" for n in range(1001)]}
    yield Poison("interactions", "too many items shown", key, orjson.dumps(shown))


def _transfers(now: float, user: str) -> Mapping[str, Mapping[str, Any]]:
    payload, vectors = _snapshot(now, text_vector("rivers"))
    state = payload["state"]
    first: dict[str, Any] = {
        **{name: [1.0, now] for name in ("taste", "session", "lifetime")},
        **{name: [] for name in ("recents", "viewed", "purchased", "disliked", "liked", "pending", "twins")},
        "evidence": 1.0,
        "counted": {},
        "event_ids": [],
        "onboarded": None,
        **{name: {} for name in ("watermarks", "origins", "first")},
    }
    waits = ["i", "{}", "interactions", 0, 0, "log", int(now * 1000), now, [], None]

    def changed(**fields: Any) -> dict[str, Any]:
        return {"payload": {**payload, **fields}, "vectors": vectors}

    def of_first_version(**fields: Any) -> dict[str, Any]:
        return changed(state=orjson.dumps({**first, **fields}).decode())

    short = {name: b64encode(np.ones(3).tobytes()).decode() for name in vectors}
    huge = {name: b64encode(np.full(16, 1e300).tobytes()).decode() for name in vectors}
    bodies: Mapping[str, Mapping[str, Any]] = {
        "evidence is a text": of_first_version(evidence="text"),
        "evidence overflows": of_first_version(evidence=1e300),
        "weights are texts": of_first_version(taste=["a", "b"]),
        "event ids are texts": of_first_version(event_ids=["a"]),
        "items are numbers": of_first_version(recents=[[1, now]], viewed=[[2, now]]),
        "what waits is of another topic": of_first_version(pending=[["i", "{}", "../x", *waits[3:]]]),
        "waits since a text": of_first_version(pending=[[*waits[:7], "long", [], None]]),
        "waits as text": of_first_version(pending=["waits"]),
        "years ahead": dict(zip(("payload", "vectors"), _snapshot(now + YEARS, text_vector("rivers")), strict=True)),
        "events are a text": changed(events="5"),
        "last seen never": changed(last_seen=None),
        "a state of another version": changed(state=state.replace("3.", "99.", 1)),
        "a state of no version": changed(state="x" + state),
        "a state that is cut": changed(state=state[:40]),
        "a state that inflates": changed(state=_inflating()),
        "no state": {"payload": {}, "vectors": vectors},
        "another space": changed(space="other-t1"),
        "vectors of another length": {"payload": payload, "vectors": short},
        "vectors of several lengths": {"payload": payload, "vectors": {**vectors, "taste": short["taste"]}},
        "vectors that overflow": {"payload": payload, "vectors": huge},
        "vectors that are none": {"payload": payload, "vectors": dict.fromkeys(vectors, "no base64!")},
    }
    common = {"type": "transfer", "user_id": user, "anonymous_id": "forged", "timestamp": now}
    return {name: {**common, **body} for name, body in bodies.items()}


def _snapshot(at: float, vector: np.ndarray) -> tuple[dict[str, Any], dict[str, str]]:
    """A profile, as transfers have it."""
    settings = ProfileSettings()
    profile = Profile(Person("a", "forged"), settings)
    profile.require_space(SPACE)
    profile.fold(WeightedInteraction("i", "like", vector, 1.0, at), TimeConstants.from_settings(settings))
    entry = PendingInteraction("j", "{}", "interactions", 0, 0, "log", int(at * 1000), at)
    profile.delivery.pending = (entry,)
    return pack_profile(profile, 0)


@lru_cache
def _inflating() -> str:
    """A state of some kB that takes as much memory as it likes."""
    deflate = zlib.compressobj(9, zdict=DICTIONARY)
    packed = deflate.compress(struct.pack("<I", 2) + b"{}" + bytes(2 * MAX_INFLATED)) + deflate.flush()
    return f"3.{b64encode(packed).decode()}..."


# -- items, lists, rows -----------------------------------------------------------------------------------------------


def _catalogue(now: float, item: str) -> Iterator[Poison]:
    key = item.encode()
    contents: Mapping[str, Mapping[str, Any]] = {
        "too long a title": {"title": "x" * 1001},
        "too many attributes": {"attributes": {"a": ["x" * 200] * 100}},
        "years ahead": {"timestamp": now + YEARS},
        "a time of text": {"published_at": "soon"},
        "over before it begins": {"published_at": now, "expires_at": now - 1},
    }
    for name, change in contents.items():
        yield Poison("content", name, key, orjson.dumps({"item_id": item, "title": "A", **change}))
    for name, price in (("a price of text", b'"dear"'), ("an endless price", b"1e999")):
        yield Poison("availability", name, key, b'{"item_id":"%b","available":true,"price":%b}' % (key, price))
    yield Poison("availability", "no price", key, orjson.dumps({"item_id": item, "available": True}))
    users: Mapping[str, Mapping[str, Any]] = {
        "too many attributes": {"attributes": {f"a{n}": [1e15] * 100 for n in range(60)}},
    }
    for name, change in users.items():
        yield Poison("users", name, b"ada", orjson.dumps({"user_id": "ada", **change}))


def _impressions(now: float, user: str, item: str) -> Iterator[Poison]:
    served = {"type": "served", "request_id": "r", "user_id": user, "timestamp": now, "items": []}
    lines: Sequence[Mapping[str, Any]] = [{"item_id": f"i{n}", "rank": n + 1} for n in range(1001)]
    changes: Mapping[str, Mapping[str, Any]] = {
        "too long a list": {"items": lines},
        "too long a surface": {"surface": "x" * 300},
        "a rank of nothing": {"items": [{"item_id": item, "rank": 0}]},
        "years ahead": {"timestamp": now + YEARS},
        "nobody's": {"user_id": None},
        "a click among lists": {"type": "click"},
    }
    for name, change in changes.items():
        yield Poison("impressions", name, f"u:{user}".encode(), orjson.dumps({**served, **change}))
    seen = {"type": "impression", "request_id": "r", "user_id": user, "positions": [-1]}
    yield Poison("impressions", "seen before the first", f"u:{user}".encode(), orjson.dumps(seen))


def _activity(now: float, item: str) -> Iterator[Poison]:
    activity = {"item_id": item, "recents": "", "weight": 1.0, "timestamp": now, "source": "forged:0:0"}
    listing = {"type": "listing", "item_id": item, "fields": {"meta": {}}, "offer": {}}
    changes: Mapping[str, Mapping[str, Any]] = {
        "no weight": {**activity, "weight": 0},
        "dimensions cut short": {**activity, "recents": "AAA="},
        "years ahead": {**activity, "timestamp": now + YEARS},
        "a profile that is none": {**activity, "before": "me"},
        "fields without meta": {**listing, "fields": {"language": "en"}},
        "meta of text": {**listing, "fields": {"meta": "text"}},
        "published some day": {**listing, "fields": {"meta": {"published_at": "soon"}}},
        "an offer of some day": {**listing, "offer": {"at": "soon"}},
    }
    for name, value in changes.items():
        yield Poison("activity", name, item.encode(), orjson.dumps(value))
    yield Poison("activity", "another item's partition", item.encode(), orjson.dumps(activity), misplaced=True)
    gone = {"type": "listing", "item_id": item, "gone": True}
    yield Poison("activity", "deleted from another partition", item.encode(), orjson.dumps(gone), misplaced=True)


def _breaking(now: float, item: str) -> Iterator[Poison]:
    """Nothing is wrong with these: it is the handler."""
    values: Mapping[str, tuple[str, Mapping[str, Any]]] = {
        "interactions": (BROKEN, {"type": "click", "user_id": BROKEN[2:], "item_id": item}),
        "impressions": (
            BROKEN,
            {"type": "served", "request_id": BREAKS, "user_id": BROKEN[2:], "timestamp": now, "items": []},
        ),
        "content": ("broken", {"item_id": "broken", "title": "Broken"}),
        "availability": ("broken", {"item_id": "broken", "available": True, "price": 1.0}),
        "users": ("broken", {"user_id": "broken", "interests": ["rivers"]}),
        "activity": (
            "broken",
            {"item_id": "broken", "recents": "", "weight": 1.0, "timestamp": now, "source": "broken:0:0"},
        ),
    }
    for topic, (key, value) in values.items():
        yield Poison(topic, "breaks its handler", key.encode(), orjson.dumps(value), ((BREAKS, b""),), FAILED)
