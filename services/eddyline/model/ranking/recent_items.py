r"""What a person's recent items have in common: what they cost, what their images show, and of which categories they
are.

Each recent item counts with its weight w in the affinity query. Of prices, by their logarithms, since a price is a
ratio to another:

$$\mu = \frac{\sum w \ln p}{\sum w}, \quad s^2 = \frac{n\,v + e\,\ln^2 r}{n + e},
\quad n = \frac{(\sum w)^2}{\sum w^2}$$

v being their weighted variance, n the effective number of prices (Kish, "Survey sampling", 1965), and e and r
`PRICE_EVIDENCE` and `WIDE_PRICE_RATIO`: a person who bought one thing may buy others at quite other prices. A
price p fits by $e^{-(\ln p - \mu)^2 / 2 s^2}$.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eddyline.model.decay import Vector
from eddyline.model.distance import normalise_rows

NEUTRAL = 0.5
"""How well an item fits whose price isn't known, or is 0."""
SIMILAR_PRICE_RATIO = 1.5
"""Ratio up to which one thing costs about as much as another."""
MIN_PRICE_RATIO = 1.5
"""Prices of this ratio are never more than one standard deviation apart, however similar the known ones are."""
WIDE_PRICE_RATIO = 4.0
"""Ratio of prices that is one standard deviation while none is known."""
PRICE_EVIDENCE = 3.0
"""Known prices at which the variance is half their own, half that of `WIDE_PRICE_RATIO`."""
DETAILED_RECENTS = 20
"""Newest recent items that are looked up."""
MIN_LENGTH = 1e-6
"""Length of a mean of unit vectors under which it points nowhere."""


@dataclass(frozen=True, slots=True)
class RecentItemDetails:
    """What a recent item costs, its image's vector, where there is one, with the `space` of that, and its category."""

    price: float | None = None
    image: Vector | None = None
    space: str | None = None
    category: str | None = None


@dataclass(frozen=True, slots=True)
class PricePreference:
    """What someone lately spends on an item: mean and standard deviation of the logarithm of its price."""

    mean: float
    deviation: float

    def is_about(self, price: float | None) -> bool:
        """Whether it is what they usually spend, whatever else they might."""
        return price is not None and price > 0 and abs(math.log(price) - self.mean) <= math.log(SIMILAR_PRICE_RATIO)

    def fit(self, prices: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return how well each price fits, shape (n), in 0…1; `NEUTRAL` where it is nan or 0."""
        is_known = prices > 0
        distance = (np.log(np.where(is_known, prices, 1.0)) - self.mean) / self.deviation
        return np.where(is_known, np.exp(-0.5 * distance**2), NEUTRAL)


@dataclass(frozen=True, slots=True)
class ImagePreference:
    """What images of a `space` show on the whole: a unit vector."""

    vector: Vector
    space: str


def price_preference(weights: Mapping[str, float], details: Mapping[str, RecentItemDetails]) -> PricePreference | None:
    """Fit the prices of the items that have one, by their weights; None where none has."""
    known = [(weight, math.log(price)) for item, weight in weights.items() if (price := _price(details.get(item)))]
    if not known:
        return None
    weight, logarithm = np.asarray(known, np.float64).T
    share = weight / weight.sum()
    mean = float(share @ logarithm)
    variance, count = float(share @ (logarithm - mean) ** 2), 1.0 / float(share @ share)
    wide = math.log(WIDE_PRICE_RATIO) ** 2
    shrunk = (count * variance + PRICE_EVIDENCE * wide) / (count + PRICE_EVIDENCE)
    return PricePreference(mean, max(math.log(MIN_PRICE_RATIO), math.sqrt(shrunk)))


def image_preference(weights: Mapping[str, float], details: Mapping[str, RecentItemDetails]) -> ImagePreference | None:
    """Return the direction of the weighted mean of the images, of the space of the first item that has one.

    None where there is none, or where they point in opposite directions.
    """
    images = [
        (weight, detail.image, detail.space)
        for item, weight in weights.items()
        if (detail := details.get(item)) is not None and detail.image is not None and detail.space is not None
    ]
    if not images:
        return None
    space = images[0][2]
    comparable = [(weight, vector) for weight, vector, its_space in images if its_space == space]
    share = np.asarray([weight for weight, _ in comparable])
    mean = share / share.sum() @ normalise_rows(np.stack([vector for _, vector in comparable]))
    length = float(np.linalg.norm(mean))
    return ImagePreference(mean / length, space) if length > MIN_LENGTH else None


def category_mix(item_ids: Iterable[str], details: Mapping[str, RecentItemDetails]) -> Mapping[str, float] | None:
    """Return the share of each category among the items of which one is known, newest or not; None where none is."""
    known = Counter(one.category for item_id in item_ids if (one := details.get(item_id)) and one.category is not None)
    return {name: count / known.total() for name, count in known.items()} if known else None


def _price(detail: RecentItemDetails | None) -> float | None:
    return None if detail is None else detail.price
