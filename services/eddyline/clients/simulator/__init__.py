"""People with hidden tastes who use a running Eddyline over HTTP: for demos, experiments and load."""

from eddyline.clients.simulator.connection import Connection
from eddyline.clients.simulator.driver import Driver, SimulationPlan
from eddyline.clients.simulator.simulation_report import SimulationReport
from eddyline.clients.simulator.world import Habits

__all__ = ["Connection", "Driver", "Habits", "SimulationPlan", "SimulationReport"]
