r"""EASE: a linear model of which items people have chosen, in closed form.

Steck, "Embarrassingly shallow autoencoders for sparse data", WWW 2019. With the people-by-items matrix X of zeros and
ones and $P = (X^T X + \lambda I)^{-1}$, the weight of item i for j is $B_{ij} = -P_{ij} / P_{jj}$, and 0 for itself; a
person's scores are their row of X times B. *Frozen*, X is what was known before the first request; *refitted*, P takes
in what came since at each hundredth of the requests, exactly, by the formula of Woodbury. The person's row is always
what they have chosen by the request.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from eddyline.errors import InvalidInput
from eddyline.evaluation.baselines.baseline import BaselineTask, PersonHistories
from eddyline.evaluation.interaction_log import IMPRESSION, LoggedInteraction
from eddyline.evaluation.item_index import top
from eddyline.evaluation.prequential import MakeList, Recommend

REGULARISATION = 100.0
MAX_ITEMS = 20_000
"""More make matrices that don't fit into memory: three of items² numbers."""
ROWS_AT_ONCE = 128
"""People whose rows are put into P, or out of it, in one step."""


class Ease:
    """The frozen model and the refitted one."""

    def __init__(self, task: BaselineTask) -> None:
        if task.items > MAX_ITEMS:
            raise InvalidInput(f"ease takes matrices of items²: it is for {MAX_ITEMS:,} items, not {task.items:,}")
        self._task, self._histories = task, PersonHistories(task.repeats)
        self._learnt = 0
        self._known: dict[int, frozenset[int]] = {}
        """Rows of X that P has taken in, by person."""
        self._changed: defaultdict[int, set[int]] = defaultdict(set)
        """Rows that have grown since."""
        if task.begin == 0:
            self._fit()

    def recommenders(self) -> Mapping[str, Recommend]:
        """Return both."""
        return {
            "ease (frozen)": partial(self._recommend, lambda: self.frozen),
            "ease (refitted)": partial(self._recommend, lambda: self.refitted),
        }

    def learn(self, event: LoggedInteraction) -> None:
        """Take in an event; fit where it is the last before the first request, or before a refit."""
        self._histories.add(event)
        self._learnt += 1
        if event.type != IMPRESSION:
            self._changed[event.person].add(event.item)
        if self._learnt == self._task.begin:
            self._fit()
        elif self._task.is_refitted_at(self._learnt):
            self._refit()

    def _fit(self) -> None:
        gram = np.zeros((self._task.items, self._task.items))
        for person, items in self._changed.items():
            row = np.array(sorted(items), dtype=np.int64)
            gram[np.ix_(row, row)] += 1.0
            self._known[person] = frozenset(items)
        self._changed.clear()
        gram[np.diag_indices_from(gram)] += REGULARISATION
        self.frozen = LinearModel(np.asarray(np.linalg.inv(gram), dtype=np.float64))
        self.refitted = LinearModel(self.frozen.inverse.copy())

    def _refit(self) -> None:
        """Replace the rows that have grown: of each, the former one is taken out and the present one put in."""
        people = list(self._changed)
        for start in range(0, len(people), ROWS_AT_ONCE):
            some = people[start : start + ROWS_AT_ONCE]
            before = [self._known.get(person, frozenset()) for person in some]
            after = [known | self._changed[person] for person, known in zip(some, before, strict=True)]
            self.refitted.update(_rows(after, self._task.items), _rows(before, self._task.items))
            self._known.update(zip(some, after, strict=True))
        self._changed.clear()

    def _recommend(self, model: Callable[[], LinearModel], person: int, _: float, k: int) -> MakeList:
        scores = model().scores(sorted(set(self._histories.items[person])))
        listed: list[int] = top(scores, k, self._histories.hidden(person)).places.tolist()
        return lambda: listed


@dataclass(frozen=True, slots=True)
class LinearModel:
    """P, (items, items)."""

    inverse: NDArray[np.float64]

    def scores(self, chosen: list[int]) -> NDArray[np.float64]:
        """Score every item for somebody who chose these; minus infinity for all where they chose nothing."""
        if not chosen:
            return np.full(len(self.inverse), -np.inf)
        scores: NDArray[np.float64] = -self.inverse[chosen].sum(axis=0) / np.diagonal(self.inverse)
        scores[chosen] += 1.0  # its own weight is 0, not -P_jj / P_jj
        return scores

    def update(self, added: NDArray[np.float64], removed: NDArray[np.float64]) -> None:
        r"""Change $X^T X$ by $A^T A - R^T R$, of rows (n, items): $P' = P - P U (S + U^T P U)^{-1} U^T P$.

        U are the rows as columns, S the diagonal of their signs.
        """
        rows = np.concatenate([added, removed])
        signs = np.repeat([1.0, -1.0], [len(added), len(removed)])
        products = rows @ self.inverse
        self.inverse[...] -= products.T @ np.linalg.solve(np.diag(signs) + products @ rows.T, products)


def _rows(people: list[frozenset[int]], items: int) -> NDArray[np.float64]:
    rows = np.zeros((len(people), items))
    for row, chosen in zip(rows, people, strict=True):
        row[list(chosen)] = 1.0
    return rows
