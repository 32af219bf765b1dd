"""Affinity: folds `activity` into rows: what items learn from people, their trends, and what lists filter them by."""

from eddyline.affinity.blend_store import BlendStore
from eddyline.affinity.choice_finder import ChoiceFinder
from eddyline.affinity.handler import AffinityLearner, ChoiceLearning, parse_record
from eddyline.affinity.row_state import SOURCES

__all__ = ["SOURCES", "AffinityLearner", "BlendStore", "ChoiceFinder", "ChoiceLearning", "parse_record"]
