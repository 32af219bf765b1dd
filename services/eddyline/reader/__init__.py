"""Reader: answers who should see what next. It never writes to the store, and keeps no state but short caches."""

from eddyline.reader.api import BODIES, router
from eddyline.reader.assigning import Running
from eddyline.reader.experiments import LiveExperiments, VerdictBoard
from eddyline.reader.impressions import ImpressionLog
from eddyline.reader.search import Search
from eddyline.reader.service import Reader
from eddyline.reader.shown import ShownLog

__all__ = [
    "BODIES",
    "ImpressionLog",
    "LiveExperiments",
    "Reader",
    "Running",
    "Search",
    "ShownLog",
    "VerdictBoard",
    "router",
]
