"""Rules: what changes in a situation (weights, boosts, the strategy), segments, and promotions. Pure.

`RuleSet.from_settings(settings)` checks and parses them once; `read_situation(…)` is what is known of a request;
`evaluate_rules` and `active_promotions` tell what holds in it; `place_promotions` puts promoted items into a list.
"""

from eddyline.model.rules.promotions import ActivePromotion, SlotAssignment, place_promotions
from eddyline.model.rules.rule_set import (
    Adjustments,
    RuleSet,
    active_promotions,
    evaluate_rules,
    read_situation,
)
from eddyline.model.rules.situation import Situation

__all__ = [
    "ActivePromotion",
    "Adjustments",
    "RuleSet",
    "Situation",
    "SlotAssignment",
    "active_promotions",
    "evaluate_rules",
    "place_promotions",
    "read_situation",
]
