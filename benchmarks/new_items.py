"""How long good new items take to be found, and what finding them costs: `python benchmarks/new_items.py`.

The people of `eddyline simulate` choose from what they are shown, and from nothing else; all that is learnt comes from
that. Memory, plan, ranking and options are the product's own, the searches are done in memory, and time is the people's
own: hours between visits are hours. After a while new items are published, and each is followed until so many people
have clicked it. (`eddyline simulate --arrivals` measures the same on a running Eddyline, in real time.)
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from eddyline.adapters.encoders import create_text_encoder
from eddyline.adapters.telemetry import Metrics
from eddyline.clients.progress import ProgressListener
from eddyline.clients.simulator import Habits
from eddyline.clients.simulator.catalogue import GeneratedItem, generate_catalogue
from eddyline.clients.simulator.new_items import NewItems, Progress
from eddyline.clients.simulator.population import Population, SimulatedPerson
from eddyline.clients.simulator.visits import ListedItem, ViewedList, Visit
from eddyline.clients.simulator.world import SimulatedWorld
from eddyline.evaluation.embedding_cache import cache_directory, cached_vectors
from eddyline.evaluation.interaction_log import IMPRESSION, InteractionLog, LoggedInteraction
from eddyline.evaluation.learned_state import InMemoryState
from eddyline.evaluation.strategy_recommender import DenseSearches, RequestSearches
from eddyline.model.decay import DAY, HOUR, MINUTE
from eddyline.model.events import Content
from eddyline.model.ids import Person
from eddyline.model.ranking import plan_retrieval, rank_options, rank_rows
from eddyline.model.text import Template
from eddyline.settings import Settings

START, LIMIT = 1_790_000_000.0, 10
LEAVING = 40
"""Most people who ever come, for each who is around at any time."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("people", 800), ("items", 400), ("new", 20), ("hours", 80), ("lists", 16000)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--milestone", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--strategy", default="eddyline")
    parser.add_argument("--explore", type=float, help="instead of the strategy's")
    given = parser.parse_args()
    published_at = START + given.hours * HOUR
    loop = Loop(given.people, given.items, given.new, published_at, given.seed, given.strategy, given.explore)
    while loop.now < published_at:
        loop.make_list()
    loop.publish(given.milestone)
    for _ in range(given.lists):
        loop.make_list()
    loop.report()


class Loop:
    """People who come one after another, and what is known of them."""

    def __init__(
        self,
        people: int,
        items: int,
        new: int,
        published_at: float,
        seed: int,
        strategy: str,
        explore: float | None,
    ) -> None:
        """`published_at`: when the new items are, in epoch seconds."""
        self._settings = settings = Settings()
        usual = settings.strategies[strategy]
        self._strategy = usual if explore is None else usual.model_copy(update={"explore": explore})
        made = generate_catalogue(items)
        topics = sorted({name for one in made for name in one.item.topics})
        self._world = SimulatedWorld(topics, seed, Habits())
        self._world.add(one.item for one in made)
        appeals = sorted(map(self._world.appeal, self._world.items))
        self._usual_appeal = appeals[len(appeals) // 2]
        self._people = Population(self._world, seed, people)
        made += [self._world.new_item(f"new-{number}") for number in range(new)]
        content = [
            _content(one, START - one.age_days * DAY if n < items else published_at) for n, one in enumerate(made)
        ]
        log = InteractionLog(
            "simulated",
            str(seed),
            tuple(content),
            tuple(Person("u", f"p{number}") for number in range(LEAVING * people)),
            (),
        )
        self._memory = Catalogue(log, _vectors(content, settings), settings, items)
        self._dense = DenseSearches(self._memory.catalogue)
        self._visits: dict[int, Visit] = {}
        self._lists = self._events = self._seen = self._clicks = self._explored = 0
        self._news = NewItems()

    @property
    def now(self) -> float:
        """The people's time, in epoch seconds."""
        return START + self._people.now * HOUR

    def make_list(self) -> None:
        """Make a list for whoever comes next, and learn from what comes of it."""
        person = self._people.next()
        assert person is not None, "nobody is waited for"
        visit = self._visits.get(person.number)
        if visit is None:
            visit = self._visits[person.number] = Visit(self._world, person)
            visit.arrive()
        look = visit.look("r", self._listed(person, visit))
        self._lists += 1
        self._learn(person, look)
        then = visit.next()
        if then.is_over:
            del self._visits[person.number]
        if then.hours is None:
            self._people.leave(person)
        else:
            self._people.put(person, then.hours)

    def publish(self, milestone: int) -> None:
        """Let the new items be found from now on, and count from now on."""
        self._seen = self._clicks = self._explored = 0
        self._news = NewItems(milestone)
        for item_id in self._memory.publish():
            is_good = self._world.appeal(item_id) >= self._usual_appeal
            self._news.publish(item_id, is_good, Progress(self.now, self._lists))

    def report(self) -> None:
        """Print what was counted since the new items were published."""
        figures = self._news.as_json()
        good = figures["good"]
        print(f"CTR {self._clicks / self._seen:.4f}; {self._explored / self._seen:.4f} of the places explored")
        print(f"new items: {figures['impressions']:,} seen, {figures['clicks']:,} clicks")
        print(
            f"good ones: {good['reached']} of {good['published']} reached {good['milestone']} clicks; medians: "
            f"{good['median_lists']} lists, {good['median_showings']} showings"
        )

    def _listed(self, person: SimulatedPerson, visit: Visit) -> list[ListedItem]:
        """Recommend as a reader does, which tells the profile afterwards."""
        memory, ranking, now = self._memory, self._settings.ranking, self.now
        profile = memory.profile(person.number, now)
        plan = plan_retrieval(None if profile.is_unknown else profile, now, memory.taus, ranking, self._strategy)
        found = RequestSearches(memory, person.number, now, self._dense).run(plan, ranking, LIMIT)
        pause = ranking.visit_pause_minutes * MINUTE
        began = profile.seen.shown.visit_start(now, pause, ranking.rotation_hours * HOUR)
        options = rank_options(
            plan,
            self._strategy,
            ranking,
            now,
            LIMIT,
            profile.person,
            visit.session_id,
            varies=profile.was_left_alone(pause, began),
        )
        candidates = found()
        rows = rank_rows(candidates, plan, replace(options, fatigue=profile.fatigue(began, began))).rows
        item_ids = [candidates.item_ids[row] for row, _ in rows]
        profile.show(item_ids, now)
        self._explored += sum(explored for _, explored in rows)
        return [ListedItem(item_id, rank) for rank, item_id in enumerate(item_ids, start=1)]

    def _learn(self, person: SimulatedPerson, look: ViewedList) -> None:
        self._seen, self._clicks = self._seen + len(look.seen), self._clicks + len(look.clicked)
        self._news.count(
            (place.item_id for place in look.seen),
            (place.item_id for place in look.clicked),
            Progress(self.now, self._lists),
        )
        for action in look.actions:
            kind = action.event["type"]
            if kind != IMPRESSION:
                self._events += 1
                item = self._memory.catalogue.place_of[action.event["item_id"]]
                weight = self._settings.events.weights[kind]
                time = self.now
                self._memory.learn(LoggedInteraction(person.number, item, kind, weight, time, f"e{self._events}"))


class Catalogue(InMemoryState):
    """In which items that aren't published yet are found by nobody."""

    def __init__(self, log: InteractionLog, content: NDArray[np.float32], settings: Settings, published: int) -> None:
        super().__init__(log, content, settings)
        self._published = published

    def seen(self, person: int) -> NDArray[np.int64]:
        """Return what is hidden from the person: nor is what isn't published shown to anyone."""
        return np.union1d(super().seen(person), np.arange(self._published, len(self.content)))

    def publish(self) -> list[str]:
        """Publish the rest, and have rows seeded again, as they are when items arrive; return the new ids."""
        first, self._published = self._published, len(self.content)
        self._seeded = False
        return self.catalogue.item_ids[first:]


def _content(made: GeneratedItem, published_at: float) -> Content:
    return Content.model_validate({**made.state, "published_at": published_at})


def _vectors(content: Sequence[Content], settings: Settings) -> NDArray[np.float32]:
    encoder, template = create_text_encoder(settings, Metrics()), Template.from_settings(settings.encoder.template)
    texts = [template.parts(one.model_dump()) for one in content]
    return cached_vectors(texts, encoder, cache_directory(), ProgressListener())


if __name__ == "__main__":
    main()
