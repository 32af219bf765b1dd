"""How large stored profiles are, and what writing and reading one costs: `python benchmarks/profiles.py [--rounds N]`.

People of 10, 100 and 1,000 events, with and without lists that were shown to them, made from a seed. Bytes: of the
payload without its vectors, of the whole point in a request that writes it, and of a response that has it.
Microseconds: from a profile to the request's bytes, and back. The floor is the same with an empty state: the vectors
and the JSON around them.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable

import numpy as np
import orjson

from eddyline.adapters.vectors import Point
from eddyline.adapters.vectors.server_conversion import from_record, to_batch
from eddyline.model.ids import Person
from eddyline.model.offsets import LogPosition
from eddyline.model.placed_time import place_of
from eddyline.model.profile import (
    Profile,
    TimeConstants,
    WeightedInteraction,
    decode_profile,
)
from eddyline.profiler import to_profile_point
from eddyline.settings import ProfileSettings

SIZE = 384
ITEMS, LIST_ITEMS = 2_000, 10
PARTITION_RATE = 12
"""Events a second in the partition of the person, everyone's together."""
START = 1_790_000_000.0
LOG, USERS_LOG = "5L6g3nShT-eMCtK--X86sw:Lzo2ULbkTIGNpq1uVdCDNA", "5L6g3nShT-eMCtK--X86sw:u0cdeVGHQy2QnN4bVJ9yZg"
ACTIONS = {"view": 1.0, "click": 2.0, "like": 3.0, "purchase": 5.0}


def made_profile(events: int, lists: int = 0, seed: int = 7) -> Profile:
    """Make someone who in visits of about eight events views items, and does more with some of them. Each visit begins
    with a list, up to `lists`."""
    settings = ProfileSettings()
    taus, rng, vectors = TimeConstants.from_settings(settings), random.Random(seed), np.random.default_rng(seed)
    profile = Profile(Person("u", "person-4711"), settings)
    profile.require_space("53aa51172d142c89-t1")
    profile.onboard(vectors.standard_normal(SIZE), LogPosition(USERS_LOG, 3, 4711), "premium", {"age": 30})
    profile.delivery.epoch = START * 1000
    now, item, done = START, "", list(ACTIONS)
    for number in range(events):
        now = round(now + (rng.uniform(5, 300) if number % 8 else rng.uniform(30_000, 200_000)), 3)
        if number % 8 == 0 and number < 8 * lists:
            profile.show([_item(rng) for _ in range(LIST_ITEMS)], now)
        if len(done) == len(ACTIONS) or rng.random() < 0.6:
            item, done = _item(rng), []
        action = list(ACTIONS)[len(done)]
        done.append(action)
        profile.seen.count_once_per_hour(item, now)
        vector = vectors.standard_normal(SIZE) / SIZE**0.5
        position = LogPosition(LOG, 3, 100_000 + int(PARTITION_RATE * (now - START)))
        weight, popularity, place = ACTIONS[action], 300 * rng.random(), place_of(position.partition, position.offset)
        profile.fold(WeightedInteraction(item, action, vector, weight, now, popularity, place), taus)
        profile.delivery.remember(f"event-{number}")
        profile.delivery.advance(position)
        profile.identity.note_first_seen(now, profile.person.key)
    return profile


def _item(rng: random.Random) -> str:
    return f"product-{int(ITEMS * rng.random() ** 2)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    rounds = parser.parse_args().rounds
    print(f"{'':<24} {'payload':>8} {'request':>8} {'response':>8} {'write':>9} {'read':>9}   (bytes, µs)")
    floor = Profile(Person("u", "nobody"), ProfileSettings())
    floor.taste = made_profile(10).taste
    _report("floor: vectors alone", floor, rounds)
    for lists in (0, 30):
        for events in (10, 100, 1_000):
            shown = f", {min(lists, -(-events // 8))} lists" if lists else ""
            _report(f"{events:,} events{shown}", made_profile(events, lists), rounds)


def _report(name: str, profile: Profile, rounds: int) -> None:
    point = to_profile_point(profile, 3)
    small = {key: value for key, value in point.payload.items() if key != "vectors"}
    response = _response(point)
    write = _microseconds(lambda: _request(profile), rounds)
    read = _microseconds(lambda: _read(response, profile), rounds)
    sizes = (len(orjson.dumps(small)), len(_request(profile)), len(response))
    print(f"{name:<24} {sizes[0]:>8,} {sizes[1]:>8,} {sizes[2]:>8,} {write:>9.1f} {read:>9.1f}")


def _request(profile: Profile) -> bytes:
    return _dumps({"batch": to_batch([to_profile_point(profile, 3)])})


def _response(point: Point) -> bytes:
    """As a look-up gets it: without `history`, which nobody asks for."""
    return _dumps({"result": [{"id": point.id, "payload": dict(point.payload)}]})


def _read(response: bytes, profile: Profile) -> Profile:
    point = from_record(orjson.loads(response)["result"][0])
    return decode_profile(profile.person, point.payload, point.vectors, profile.settings)


def _dumps(body: object) -> bytes:
    return orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)


def _microseconds(do: Callable[[], object], rounds: int) -> float:
    """The fastest of the rounds: what else runs on the machine only ever adds."""
    best = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        do()
        best = min(best, time.perf_counter() - start)
    return best * 1e6


if __name__ == "__main__":
    main()
