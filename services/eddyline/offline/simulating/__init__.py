"""People with hidden tastes who use a running Eddyline over HTTP: for demos, experiments and load."""

from eddyline.offline.simulating.api import Api
from eddyline.offline.simulating.driver import Driver, Plan
from eddyline.offline.simulating.report import Report
from eddyline.offline.simulating.world import Habits

__all__ = ["Api", "Driver", "Habits", "Plan", "Report"]
