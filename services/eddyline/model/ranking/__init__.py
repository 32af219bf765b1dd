"""Ranking: candidates of several sources, blended into one list. Pure; the same code serves and evaluates.

`plan` says what to look for on someone's behalf, `gather` makes one table of what was found, `rank` makes a list of it.
"""

from eddyline.model.ranking.candidates import Candidates, Found, chosen_by, gather
from eddyline.model.ranking.lately import Detail
from eddyline.model.ranking.plan import ORDERED, AffinityQuery, Plan, informed, plan
from eddyline.model.ranking.ranked import Boost, Ranked, RankOptions, rank, usual_options
from eddyline.model.ranking.terms import freshness

__all__ = [
    "ORDERED",
    "AffinityQuery",
    "Boost",
    "Candidates",
    "Detail",
    "Found",
    "Plan",
    "RankOptions",
    "Ranked",
    "chosen_by",
    "freshness",
    "gather",
    "informed",
    "plan",
    "rank",
    "usual_options",
]
