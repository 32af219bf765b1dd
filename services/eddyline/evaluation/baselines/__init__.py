"""Recommenders of the literature, asked on the very same requests: a yardstick for the strategies.

Each is a module of its own; `baseline_factory` finds one by its name.
"""

from eddyline.evaluation.baselines.baseline import Baseline, BaselineFactory, BaselineTask
from eddyline.evaluation.baselines.registry import BASELINES, baseline_factory

__all__ = ["BASELINES", "Baseline", "BaselineFactory", "BaselineTask", "baseline_factory"]
