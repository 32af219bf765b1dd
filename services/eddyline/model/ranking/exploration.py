r"""Exploration: which item gets a position that is given to trying something out.

Thompson sampling (Thompson, "On the likelihood that one unknown probability exceeds another", 1933; Chapelle and Li,
"An empirical evaluation of Thompson sampling", NIPS 2011): of the items that fewer than `KNOWN` people have chosen, the
one with the largest draw from what it may be worth to try it with this person,

$$\theta_i = (s + (1 - s)\,c_i)\,\frac{k}{n_i + k}\,\frac{a}{a + t_i}\,\gamma_i, \quad
\gamma_i \sim \frac{Gamma(n_i + p)}{n_i + p}$$

c being how close its content is to what the person likes, 0…1, by the nearest of the content sources (1 for all where
there is none) and s the `SURPRISE` that content doesn't tell of; n how many have chosen it, k `HALF_KNOWN` and p a
`PRIOR`; t its age, and a `HALF_TRIED`. So it is what suits the person that is tried; the less is known of an item, the
more there is to find out, and the more is left to chance.

How often an item was shown isn't known: exposures are kept by person, not by item. Age stands for it: what has been
there for weeks, and was chosen by few, has had its chance, and yields to what came today.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from eddyline.model.decay import DAY
from eddyline.model.ranking import seeded_random
from eddyline.model.ranking.candidates import Candidates, Column
from eddyline.model.ranking.retrieval_plan import DENSE

EXPLORATION = "exploration"
KNOWN = 100
"""People who have chosen an item from whom on it isn't tried out any more."""
HALF_KNOWN = 20.0
"""People at whom there is half as much to find out."""
SURPRISE = 0.3
"""What an item is worth to try whose content is far from everything that the person likes, as a share of the most."""
HALF_TRIED = 14 * DAY
"""Age from which on an item has had half of its chance, in seconds."""
YEAR = 365 * DAY
PRIOR = 3.0
"""People that a draw counts beside those who have chosen an item: at 1, chance outweighs what suits the person."""


def draw_promise(candidates: Candidates, order: NDArray[np.intp], seed: int, now: float) -> Column:
    """Draw what each row of the order may be worth to try, at `now` (epoch seconds); -inf for what is known well
    enough."""
    chosen = candidates.chosen()[order]
    draws = seeded_random.gamma_draws(candidates.hashes()[order], seed, EXPLORATION, chosen + PRIOR)
    fit = SURPRISE + (1.0 - SURPRISE) * _content_fit(candidates)[order]
    age = np.clip(now - candidates.listed_at()[order], 0.0, YEAR)  # where it is unknown, the item is old
    untried = HALF_TRIED / (HALF_TRIED + age)
    promise = fit * untried * HALF_KNOWN / (chosen + HALF_KNOWN) * draws
    return np.where(chosen < KNOWN, promise, -np.inf)


def _content_fit(candidates: Candidates) -> Column:
    """Return how close each one's content is to what the person likes, 0…1."""
    sources = [candidates.normalised(name) for name in DENSE if name in candidates.scores]
    return np.max(sources, axis=0) if sources else np.ones(len(candidates))
