"""Affinity: folds `activity` into rows: what items learn from people, their trends, and what lists filter them by."""

from eddyline.affinity.handler import AffinityLearner
from eddyline.affinity.row_state import SOURCES

__all__ = ["SOURCES", "AffinityLearner"]
