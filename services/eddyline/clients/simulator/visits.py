"""One visit of a person, as a state machine without I/O: it asks for a list, gets it, and says what the person did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from eddyline.clients.simulator.population import SimulatedPerson
from eddyline.clients.simulator.world import SimulatedWorld

DISLIKED: Final = -0.4
"""Liking from which on down someone may say so."""
UNPLEASED: Final = -0.5
"""Pleasure in a list without anything to click."""
PLEASURE: Final = 0.7
"""Pleasure in a clicked item, for each 1 of liking."""
MAX_PLEASURE: Final = 2.0
LONGEST_VISIT: Final = 12
"""Lists."""
THINKING_HOURS: Final = (0.005, 0.03)
"""Between two lists of a visit."""


class ListedItem(NamedTuple):
    """An item at its rank in a list."""

    item_id: str
    rank: int


@dataclass(frozen=True, slots=True)
class Action:
    """An event but for its time and its id. `late`: seconds after which it is sent."""

    event: dict[str, Any]
    late: float = 0.0


@dataclass(frozen=True, slots=True)
class ViewedList:
    """A list that was looked at: its first items were seen, and of these some clicked."""

    actions: tuple[Action, ...]
    seen: tuple[ListedItem, ...] = ()
    clicked: tuple[ListedItem, ...] = ()
    dwell_seconds: float = 0.0
    conversions: int = 0
    revenue: float = 0.0


@dataclass(frozen=True, slots=True)
class NextRequest:
    """The person's next request: in so many hours, in the same visit or after it; None: never."""

    hours: float | None
    is_over: bool


class Visit:
    """A visit. First `arrive`, then as often as `next` says a list for `look`."""

    def __init__(self, world: SimulatedWorld, person: SimulatedPerson) -> None:
        self._world, self._habits, self._person = world, world.habits, person
        person.visits += 1
        self.session_id = f"{person.name}-{person.visits}"
        self.lists = 0
        self.has_changed_taste = False
        self._pleasure, self._last = 0.0, 0.0

    def arrive(self) -> list[Action]:
        """Begin with the taste of today; someone anonymous may sign in."""
        person, random = self._person, self._person.random
        if person.visits > 1:
            person.taste, self.has_changed_taste = self._world.changed(person.taste, random)
        if person.user_id is not None or person.visits == 1 or random.random() >= self._habits.identify:
            return []
        person.user_id = person.name
        event = {"type": "identify", "anonymous_id": person.anonymous_id, "user_id": person.user_id}
        return [Action({**event, "session_id": self.session_id})]

    def look(self, request_id: str, places: Sequence[ListedItem], surface: str | None = None) -> ViewedList:
        """Look at a list, from the top, as far as the person scrolls."""
        self.lists += 1
        seen = places[: self._depth(len(places))]
        if not seen:
            self._feel(UNPLEASED)
            return ViewedList(())
        actions = [self._act("impression", request_id=request_id, positions=[place.rank for place in seen])]
        clicked: list[ListedItem] = []
        pleasure = dwelt = revenue = 0.0
        conversions = 0
        for place in seen:
            if not self._clicks(place):
                continue
            clicked.append(place)
            self._person.clicked.add(place.item_id)
            liking = self._liking(place.item_id)
            pleasure += PLEASURE * liking
            seconds = self._habits.dwell(liking, self._person.random)
            dwelt += seconds
            source = self._source(request_id, surface)
            actions.append(self._act("click", item_id=place.item_id, dwell_ms=round(1000 * seconds), **source))
            bought, paid = self._afterwards(place.item_id, liking, source)
            actions += bought
            conversions, revenue = conversions + (paid is not None), revenue + (paid or 0.0)
        self._feel(pleasure if clicked else UNPLEASED)
        return ViewedList(tuple(actions), tuple(seen), tuple(clicked), dwelt, conversions, revenue)

    def next(self) -> NextRequest:
        """Decide what the person does after a list."""
        random, habits = self._person.random, self._habits
        if self.lists < LONGEST_VISIT and random.random() < habits.goes_on(self._last):
            return NextRequest(random.uniform(*THINKING_HOURS), is_over=False)
        mean = self._pleasure / max(1, self.lists)
        if random.random() < habits.leaves(mean):
            return NextRequest(None, is_over=True)
        return NextRequest(habits.pause(self._person.usual_pause, mean, random), is_over=True)

    def give_up(self) -> NextRequest:
        """Go without a list."""
        return NextRequest(self._habits.pause(self._person.usual_pause, UNPLEASED, self._person.random), is_over=True)

    def _depth(self, length: int) -> int:
        depth = self._person.screen
        while depth < length and self._person.random.random() < self._habits.scroll:
            depth += self._person.screen
        return min(depth, length)

    def _clicks(self, place: ListedItem) -> bool:
        chance = self._habits.clicks(place.rank, self._liking(place.item_id), self._world.quality(place.item_id))
        if place.item_id in self._person.clicked:
            chance *= self._habits.again
        return self._person.random.random() < chance

    def _afterwards(self, item_id: str, liking: float, source: dict[str, Any]) -> tuple[list[Action], float | None]:
        """Decide what follows a click, and what is paid."""
        random = self._person.random
        if random.random() < self._habits.buys(liking):
            price = self._world.items[item_id].price
            return [self._act("purchase", item_id=item_id, value=price, **source)], price
        if liking <= DISLIKED and random.random() < self._habits.dislike:
            return [self._act("dislike", item_id=item_id, **source)], None
        return [], None

    def _source(self, request_id: str, surface: str | None) -> dict[str, Any]:
        """Name where a click comes from: an app may lose track of the list."""
        random = self._person.random
        context: dict[str, Any] = {"device": self._person.device} | ({} if surface is None else {"surface": surface})
        if random.random() < self._habits.unattributed:
            return {"context": context}
        return {"request_id": request_id, "context": context}

    def _act(self, kind: str, **fields: Any) -> Action:
        random, habits = self._person.random, self._habits
        late = random.expovariate(1.0 / habits.late_seconds) if random.random() < habits.late else 0.0
        return Action({"type": kind, **self._person.ids, "session_id": self.session_id, **fields}, late)

    def _liking(self, item_id: str) -> float:
        return self._world.liking(self._person.taste, item_id)

    def _feel(self, pleasure: float) -> None:
        self._last = min(MAX_PLEASURE, pleasure)
        self._pleasure += self._last
