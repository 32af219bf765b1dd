"""The state that the services would have written: learnt event by event by the same pure code, kept in memory."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from eddyline.evaluation.interaction_log import IMPRESSION, InteractionLog, LoggedInteraction
from eddyline.evaluation.inverted_index import Integers, InvertedIndex
from eddyline.evaluation.item_index import ItemIndex, top
from eddyline.model import affinity
from eddyline.model.affinity import NO_ROW, AffinityRow
from eddyline.model.distance import Distance, normalise_rows, similarities, space_of
from eddyline.model.ids import item_dimension
from eddyline.model.offsets import LogPosition
from eddyline.model.profile import Profile, TimeConstants, WeightedInteraction
from eddyline.settings import Settings

BATCH = 16
"""Most updates of an item's row that are pending."""
SPACE = "evaluation"
"""All vectors of a run are of one encoder; the distance is put before it."""


class InMemoryState:
    """Profiles, affinity rows and trends. `content`: the items' vectors; `answers`: onboarding, by person; `repeats`:
    nothing is hidden from a person because they met it."""

    def __init__(
        self,
        log: InteractionLog,
        content: NDArray[np.float32],
        settings: Settings,
        answers: Mapping[int, NDArray[np.float32]] | None = None,
        repeats: bool = False,
    ) -> None:
        distance = Distance.named(settings.encoder.distance)
        self._space = space_of(distance, SPACE)
        self.settings, self.catalogue = settings, ItemIndex(log.items, content, distance)
        self.taus = TimeConstants.from_settings(settings.profile)
        self._log, self._answers, self._repeats = log, answers or {}, repeats
        self._vectors = content.astype(np.float64)
        self._profiles: dict[int, Profile] = {}
        self._seen: defaultdict[int, set[int]] = defaultdict(set)
        self._rows: dict[int, AffinityRow] = {}
        self._histories = InvertedIndex(len(log.people), map(item_dimension, self.catalogue.item_ids))
        self._changed: set[int] = set()
        self._recents: dict[int, Integers] = {}
        self._pending: defaultdict[int, list[AffinityRow]] = defaultdict(list)
        self._updated: set[int] = set()
        self._seeded = False
        self.learnt = 0
        """Events so far."""

    @property
    def content(self) -> NDArray[np.float32]:
        """The items' vectors, (items, dimension)."""
        return self.catalogue.content

    def profile(self, person: int, now: float) -> Profile:
        """Return the person's profile; onboarding answers are known from their time on."""
        profile = self._profiles.get(person)
        if profile is None:
            profile = self._profiles[person] = Profile(self._log.people[person], self.settings.profile)
            profile.require_space(self._space)
        user = self._log.answers.get(person)
        is_new = profile.delivery.users_position is None
        if user is not None and is_new and (user.timestamp is None or user.timestamp <= now):
            profile.onboard(self._answers.get(person), LogPosition("evaluation", 0, 0), user.segment, user.attributes)
        return profile

    def seen(self, person: int) -> NDArray[np.int64]:
        """Return the places of all items that are hidden from the person: those they met, however long ago."""
        known = self._seen[person]
        return np.fromiter(known, dtype=np.int64, count=len(known))

    def neighbours(self, person: int, count: int) -> list[tuple[Integers, float]]:
        """Find the `count` others with the most similar history: places of their recent items, and the similarity."""
        for changed in self._changed:
            self._histories.write(changed, *self._profiles[changed].seen.history())
            self._recents.pop(changed, None)
        self._changed.clear()
        scores = self._histories.scores(*self._profiles[person].seen.history())
        scores[scores <= 0] = -np.inf
        nearest, similarity = top(scores, count, np.asarray([person]))
        return list(zip(map(self._recents_of, nearest.tolist()), similarity.tolist(), strict=True))

    def _recents_of(self, person: int) -> Integers:
        if person not in self._recents:
            recents = self._profiles[person].seen.recents.times
            self._recents[person] = np.array([self.catalogue.place_of[item_id] for item_id in recents], dtype=np.int64)
        return self._recents[person]

    def learn(self, event: LoggedInteraction) -> None:
        """Take an event in as the profiler does, and the affinity service after it."""
        self.learnt += 1
        profile = self.profile(event.person, event.time)
        item_id = self.catalogue.item_ids[event.item]
        popularity = round(self.catalogue.popularity(event.item, event.time), 2)  # as the profiler keeps it
        if event.weight > 0 and profile.seen.count_once_per_hour(item_id, event.time):
            recents = [recent for recent in profile.seen.recents.newest_first() if recent != item_id]
            self._learn_affinity(event.item, recents, event.time)
        profile.fold(
            WeightedInteraction(
                item_id, event.type, self._vectors[event.item], event.weight, event.time, popularity, self.learnt
            ),
            self.taus,
        )
        self._changed.add(event.person)
        if event.type != IMPRESSION and not self._repeats:
            self._seen[event.person].add(event.item)

    def _learn_affinity(self, item: int, recents: list[str], time: float) -> None:
        settings = self.settings.affinity
        self.catalogue.count(item, time)
        dimensions = np.array(list(map(item_dimension, recents)), np.uint32)
        self._add_update(item, affinity.forward_update(dimensions, time))
        for position, recent in enumerate(recents[: settings.backward_window]):
            update = affinity.backward_update(item_dimension(self.catalogue.item_ids[item]), position, time)
            self._add_update(self.catalogue.place_of[recent], update)

    def _add_update(self, item: int, update: AffinityRow) -> None:
        """Keep a row's update, to be folded in a batch as the service does it, at the latest before a search."""
        if len(update.indices):
            self._updated.add(item)
        pending = self._pending[item]
        pending.append(update)
        if len(pending) >= BATCH:
            self._fold(item)

    def _fold(self, item: int) -> None:
        self._keep(item, affinity.fold(self._rows.get(item, NO_ROW), self._pending.pop(item), self.settings.affinity))

    def settle(self) -> None:
        """Make all that was learnt searchable: to be called before a search."""
        for item in list(self._pending):
            self._fold(item)
        if not self._seeded:
            self._seed_new_items()

    def _seed_new_items(self) -> None:
        """Before the first search, items that learnt nothing get the row that the affinity service seeds them with.

        Once: from then on, what they learn is added to it. (The service does it when an item arrives; here all are
        there from the start, when nobody could be learnt from yet.)
        """
        self._seeded = True
        settings = self.settings.affinity
        updated = np.asarray(sorted(self._updated), dtype=np.int64)
        count = min(settings.seed_neighbours, len(updated))
        if count == 0:
            return
        rows = self.content[updated]
        directions = normalise_rows(rows)
        for item in set(range(len(self.content))) - self._updated:
            near = similarities(self.content[item], rows, self.catalogue.distance)
            nearest = np.argsort(-near, kind="stable")[:count]
            cosines = directions @ normalise_rows(self.content[[item]])[0]
            neighbours = [(self._rows[int(updated[place])], float(cosines[place])) for place in nearest]
            known, seed = self._rows.get(item, NO_ROW), affinity.seed_row(neighbours, settings)
            self._keep(item, replace(seed, count=known.count, time=known.time))

    def _keep(self, item: int, row: AffinityRow) -> None:
        self._rows[item] = row
        self.catalogue.affinity.write(item, row.indices, row.stored(self.settings.affinity))
