"""SASRec: a transformer that learns which item comes next.

Kang and McAuley, "Self-attentive sequential recommendation", ICDM 2018; trained with the cross-entropy over all items,
without which it is a weaker rival than it could be (Klenitskiy and Vasilev, "Turning dross into gold loss: is BERT4Rec
really better than SASRec?", RecSys 2023). It is trained on what is known before the first request: on all but the
newest twentieth until its nDCG@10 there gets no better, then shortly on that twentieth, too. *Frozen*, it stays so;
*refitted*, it is trained further at each hundredth of the requests, on the sequences that have grown and as many others
again. Both are given what the person has chosen by the request.

PyTorch is needed: this module is imported where it is asked for. The same seed gives the same lists on one machine.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from torch.nn import functional

from eddyline.clients.progress import ProgressListener
from eddyline.evaluation.baselines.baseline import BaselineTask, PersonHistories
from eddyline.evaluation.baselines.transformer import LENGTH, SequenceModel
from eddyline.evaluation.interaction_log import IMPRESSION, LoggedInteraction
from eddyline.evaluation.item_index import top
from eddyline.evaluation.prequential import MakeList, Recommend

LEARNING_RATE = 1e-3
BATCH = 64
"""Sequences of one step."""
CELLS = 2**24
"""Most logits in memory at once: of more, the gradients are summed up."""
ROUND = 25
"""Least steps between two validations: a round is as many epochs as that takes."""
MAX_ROUNDS, PATIENCE = 200, 10
"""Rounds in all, and without a better validation, after which training ends."""
VALIDATION_SHARE, MAX_VALIDATED = 0.05, 2000
UPDATE_EPOCHS, REPLAYED = 3, 1.0
"""Of training further: how often what has grown is gone through, and other sequences beside it, each."""


class SasRec:
    """The frozen model and the refitted one, from the same training."""

    def __init__(self, task: BaselineTask) -> None:
        self._task, self._histories, self._learnt = task, PersonHistories(task.repeats), 0
        self._validation_begin = round(task.begin * (1.0 - VALIDATION_SHARE))
        self._lengths: dict[int, int] = {}
        """Of each person's sequence, without what is validated on."""
        self._grown: set[int] = set()
        """People whose sequences the refitted model hasn't been trained on as they are."""
        self._frozen = self._refitted = _Trainer(task.items, task.seed)
        self._waiting: list[_Request] = []

    def recommenders(self) -> Mapping[str, Recommend]:
        """Return both."""
        return {
            "sasrec (frozen)": partial(self._recommend, False),
            "sasrec (refitted)": partial(self._recommend, True),
        }

    def learn(self, event: LoggedInteraction) -> None:
        """Take in an event; train where it is the last before the first request, or before a refit."""
        self._histories.add(event)
        self._learnt += 1
        if event.type != IMPRESSION:
            self._grown.add(event.person)
        if self._learnt == self._validation_begin:
            self._lengths = {person: len(items) for person, items in self._histories.items.items()}
            self._grown.clear()
        if self._learnt == self._task.begin:
            self._frozen.fit(self._histories.items, self._lengths, self._task.progress)
            self._frozen.update(self._histories.items, self._grown)
            self._refitted = copy.deepcopy(self._frozen)
            self._grown.clear()
        elif self._task.is_refitted_at(self._learnt):
            self._answer()  # by the model as it was when they were asked
            self._refitted.update(self._histories.items, self._grown)
            self._grown.clear()

    def _recommend(self, is_refitted: bool, person: int, _: float, k: int) -> MakeList:
        newest = self._histories.items[person][-LENGTH:] if person in self._histories.items else []
        request = _Request(is_refitted, list(newest), self._histories.hidden(person), k)
        self._waiting.append(request)

        def make_list() -> Sequence[int]:
            if request.listed is None:
                self._answer()
            return request.listed or []

        return make_list

    def _answer(self) -> None:
        """Make the lists of all requests that wait, in one go for each model."""
        for is_refitted, trainer in ((False, self._frozen), (True, self._refitted)):
            asked = [one for one in self._waiting if one.is_refitted == is_refitted]
            known = [one for one in asked if one.history]
            for one in asked:
                one.listed = []
            for one, scores in zip(known, trainer.scores([one.history for one in known]), strict=True):
                one.listed = top(scores, one.k, one.hidden).places.tolist()
        self._waiting.clear()


@dataclass(slots=True)
class _Request:
    is_refitted: bool
    history: list[int]
    hidden: np.ndarray[tuple[int], np.dtype[np.int64]]
    k: int
    listed: list[int] | None = field(default=None)


class _Trainer:
    """A model, its optimiser, and the chance that its training depends on: nothing else's."""

    def __init__(self, items: int, seed: int) -> None:
        self._items, self._random = items, np.random.default_rng(seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._model = SequenceModel(items)
            self._torch_state = torch.get_rng_state()
        self._optimiser = torch.optim.Adam(self._model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.98))

    def fit(self, histories: Mapping[int, list[int]], lengths: Mapping[int, int], progress: ProgressListener) -> None:
        """Train on the first `lengths` items of each sequence, until the rest of them is predicted no better."""
        trained = {person: histories[person][:length] for person, length in lengths.items() if length > 1}
        validated = self._validated(histories, lengths)
        best, best_round, state = -1.0, 0, copy.deepcopy(self._model.state_dict())
        progress.start("sasrec: rounds", MAX_ROUNDS, 0)
        for number in range(MAX_ROUNDS if trained and validated else 0):
            steps = 0
            while steps < ROUND:
                steps += self._train([window for items in trained.values() for window in self._windows(items)])
            progress.advance("sasrec: rounds", 1)
            score = self._ndcg(validated)
            if score > best:
                best, best_round, state = score, number, copy.deepcopy(self._model.state_dict())
            elif number - best_round >= PATIENCE:
                break
        self._model.load_state_dict(state)

    def update(self, histories: Mapping[int, list[int]], grown: Iterable[int]) -> None:
        """Train further: on the newest items of these people, and of as many others."""
        people = sorted(grown)
        others = sorted(histories.keys() - set(people))
        for _ in range(UPDATE_EPOCHS if people else 0):
            count = min(len(others), round(REPLAYED * len(people)))
            replayed = self._random.choice(np.array(others, dtype=np.int64), count, replace=False).tolist()
            windows = [histories[person][-LENGTH - 1 :] for person in [*people, *replayed]]
            self._train([window for window in windows if len(window) > 1])

    def scores(self, histories: Sequence[Sequence[int]]) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
        """Score every item after each of these, (histories, items): none is empty."""
        if not histories:
            return np.zeros((0, self._items), dtype=np.float32)
        self._model.eval()
        with torch.no_grad():
            lengths = torch.tensor([len(items) for items in histories])
            hidden = self._model(_padded(histories))[torch.arange(len(histories)), lengths - 1]
            scores: np.ndarray[tuple[int, int], np.dtype[np.float32]] = self._model.logits(hidden).numpy()
        return scores

    def _windows(self, items: list[int]) -> list[list[int]]:
        """Cut a sequence so that each item but the first is to be predicted once, anew in each epoch."""
        if len(items) <= LENGTH + 1:
            return [items]
        starts = range(int(self._random.integers(LENGTH)) - LENGTH, len(items) - 1, LENGTH)
        windows = [items[max(0, start) : start + LENGTH + 1] for start in starts]
        return [window for window in windows if len(window) > 1]

    def _train(self, windows: list[list[int]]) -> int:
        """Go through these once, in random order; return how many steps it took."""
        self._model.train()
        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(self._torch_state)
            order = self._random.permutation(len(windows)).tolist()
            for start in range(0, len(order), BATCH):
                self._step([windows[place] for place in order[start : start + BATCH]])
            self._torch_state = torch.get_rng_state()
        return math.ceil(len(windows) / BATCH)

    def _step(self, windows: list[list[int]]) -> None:
        """Take one step of Adam by the mean cross-entropy of all that is to be predicted."""
        self._optimiser.zero_grad()
        targets = _padded([window[1:] for window in windows])
        is_target = targets > 0
        hidden = self._model(_padded([window[:-1] for window in windows]))[is_target]
        wanted = targets[is_target] - 1
        # The logits take most of the memory: their gradients are taken back to `hidden` in parts.
        parts, size = hidden.detach().requires_grad_(), max(1, CELLS // self._items)
        for start in range(0, len(wanted), size):
            logits = self._model.logits(parts[start : start + size])
            loss = functional.cross_entropy(logits, wanted[start : start + size], reduction="sum") / len(wanted)
            loss.backward()  # type: ignore[no-untyped-call]
        hidden.backward(parts.grad)
        self._optimiser.step()

    def _validated(
        self, histories: Mapping[int, list[int]], lengths: Mapping[int, int]
    ) -> list[tuple[list[int], int, list[int]]]:
        """Draw what is validated on: the newest items before, the one that came, and all before, which is hidden."""
        places = [
            (person, place)
            for person, items in histories.items()
            for place in range(max(1, lengths.get(person, 0)), len(items))
            if items[place] not in items[:place]
        ]
        count = min(MAX_VALIDATED, len(places))
        drawn = [places[place] for place in sorted(self._random.choice(len(places), count, replace=False).tolist())]
        return [
            (histories[person][max(0, place - LENGTH) : place], histories[person][place], histories[person][:place])
            for person, place in drawn
        ]

    def _ndcg(self, validated: list[tuple[list[int], int, list[int]]]) -> float:
        """Mean nDCG@10 of what came, among what wasn't chosen before."""
        found = []
        for start in range(0, len(validated), BATCH):
            some = validated[start : start + BATCH]
            for (_, came, met), scores in zip(some, self.scores([one[0] for one in some]), strict=True):
                wanted = scores[came]
                scores[met] = -np.inf
                rank = int(np.count_nonzero(scores > wanted)) + 1
                found.append(1.0 / np.log2(rank + 1) if rank <= 10 else 0.0)
        return float(np.mean(found))


def _padded(sequences: Sequence[Sequence[int]]) -> torch.Tensor:
    """Put sequences of places of items into the rows of a tensor, each place plus one, zeros behind them."""
    rows = np.zeros((len(sequences), max(map(len, sequences))), dtype=np.int64)
    for row, items in zip(rows, sequences, strict=True):
        row[: len(items)] = np.asarray(items) + 1
    return torch.from_numpy(rows)
