"""Ranking: candidates of several sources, blended into one list. Pure; the same code serves and evaluates.

`plan_retrieval` decides what to search for on a person's behalf, `merge_candidates` makes one table of what was found,
`rank` makes a list of it: `terms` are the parts of the score, `diversity` has what varies the selection.
"""

from eddyline.model.ranking.candidates import Candidates, Hit, merge_candidates, score_by_neighbours
from eddyline.model.ranking.options import RankOptions, ScoreBoost, rank_options
from eddyline.model.ranking.ranker import RankedItem, rank, rank_rows
from eddyline.model.ranking.recent_items import DETAILED_RECENTS, RecentItemDetails
from eddyline.model.ranking.retrieval_plan import (
    ORDERED,
    SEQUENTIAL,
    SESSION_EVIDENCE,
    SIMILAR_PEOPLE,
    AffinityQuery,
    RetrievalPlan,
    order_depth,
    plan_retrieval,
    search_depth,
    with_recent_items,
)
from eddyline.model.ranking.terms import freshness, score_terms

__all__ = [
    "DETAILED_RECENTS",
    "ORDERED",
    "SEQUENTIAL",
    "SESSION_EVIDENCE",
    "SIMILAR_PEOPLE",
    "AffinityQuery",
    "Candidates",
    "Hit",
    "RankOptions",
    "RankedItem",
    "RecentItemDetails",
    "RetrievalPlan",
    "ScoreBoost",
    "freshness",
    "merge_candidates",
    "order_depth",
    "plan_retrieval",
    "rank",
    "rank_options",
    "rank_rows",
    "score_by_neighbours",
    "score_terms",
    "search_depth",
    "with_recent_items",
]
