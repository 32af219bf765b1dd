"""Rules: what changes in a situation (weights, boosts, the strategy), segments, and promotions. Pure.

`Rules.of(settings)` checks and reads them once; `situation(…)` is what is known of a request; `adjust` and
`promotions` say what holds in it; `placed` puts promoted items into a list.
"""

from eddyline.model.rules.promotions import Place, Promotion, placed
from eddyline.model.rules.situation import Situation
from eddyline.model.rules.table import Adjustments, Boost, Rules, adjust, promotions, situation

__all__ = [
    "Adjustments",
    "Boost",
    "Place",
    "Promotion",
    "Rules",
    "Situation",
    "adjust",
    "placed",
    "promotions",
    "situation",
]
