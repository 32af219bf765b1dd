"""Profiler: folds every interaction into the profile of the person it belongs to. The only writer of profiles."""

from eddyline.profiler.handler import Profiler
from eddyline.profiler.pending import PENDING_BYTES
from eddyline.profiler.profile_store import to_profile_point
from eddyline.profiler.profile_updater import ParsedPersonEvent
from eddyline.profiler.records import GROUP

__all__ = ["GROUP", "PENDING_BYTES", "ParsedPersonEvent", "Profiler", "to_profile_point"]
