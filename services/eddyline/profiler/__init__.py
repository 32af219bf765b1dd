"""Profiler: folds every interaction into the profile of the person it belongs to. The only writer of profiles."""

from eddyline.profiler.handler import Profiler
from eddyline.profiler.parsed_event import GROUP, ParsedEvent
from eddyline.profiler.pending_interactions import PENDING_BYTES, to_pending
from eddyline.profiler.profile_store import to_profile_point

__all__ = ["GROUP", "PENDING_BYTES", "ParsedEvent", "Profiler", "to_pending", "to_profile_point"]
