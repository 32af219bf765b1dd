"""Reader: answers who should see what next. It never writes to the store, and keeps no state but short caches."""

from eddyline.reader.api import BODIES, router
from eddyline.reader.assignment import ActiveExperiments
from eddyline.reader.experiments import ExperimentsWatcher, StoppedVariants
from eddyline.reader.exposure_log import ExposureLog
from eddyline.reader.recommend import Reader
from eddyline.reader.reporting import ServedListLog
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
