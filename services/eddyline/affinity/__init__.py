"""Affinity: folds `activity` into what items learn from people: their rows, and their trends."""

from eddyline.affinity.handler import AffinityLearner

__all__ = ["AffinityLearner"]
