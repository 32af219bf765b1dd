"""Affinity: folds `activity` into what items learn from people: their rows, and their trends."""

from eddyline.affinity.service import Affinity

__all__ = ["Affinity"]
