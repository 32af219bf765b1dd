"""What the console asks of a process: how it is doing, what comes in, and what is known of a person or an item."""

from eddyline.console.api import Console, router
from eddyline.console.overview import MetricsHistory

__all__ = ["Console", "MetricsHistory", "router"]
