"""Reader: lists of items for people. It never writes to the store, and keeps no state but short caches."""

from eddyline.reader.api import BODIES, router
from eddyline.reader.experiments import ActiveExperiments, ExperimentsWatcher, StoppedVariants
from eddyline.reader.recommend import Reader
from eddyline.reader.reporting import ExposureLog, ServedListLog
from eddyline.reader.search import Search

__all__ = [
    "BODIES",
    "ActiveExperiments",
    "ExperimentsWatcher",
    "ExposureLog",
    "Reader",
    "Search",
    "ServedListLog",
    "StoppedVariants",
    "router",
]
