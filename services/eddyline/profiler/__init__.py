"""Profiler: folds every interaction into the profile of the person it belongs to. The only writer of profiles."""

from eddyline.profiler.fold import Said
from eddyline.profiler.profiles import to_point
from eddyline.profiler.records import GROUP, TOPIC
from eddyline.profiler.service import Profiler
from eddyline.profiler.waiting import PENDING_BYTES

__all__ = ["GROUP", "PENDING_BYTES", "TOPIC", "Profiler", "Said", "to_point"]
