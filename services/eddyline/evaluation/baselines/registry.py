"""Baselines by their names; a module is imported when its baseline is asked for, since some need more than others."""

from __future__ import annotations

from importlib import import_module

from eddyline.errors import Misconfigured
from eddyline.evaluation.baselines.baseline import BaselineFactory

BASELINES = {
    "sasrec": ("sasrec", "SasRec"),
    "vsknn": ("vsknn", "SessionNeighbours"),
    "ease": ("ease", "Ease"),
    "popularity-window": ("popularity_window", "PopularityWindows"),
}
"""Module and class of each."""


def baseline_factory(name: str) -> BaselineFactory:
    """Find what makes a baseline. Raises `Misconfigured` where there is none of this name, or a library is missing."""
    if name not in BASELINES:
        raise Misconfigured(f"there is no baseline {name}: there are {', '.join(BASELINES)}")
    module, class_name = BASELINES[name]
    try:
        factory: BaselineFactory = getattr(import_module(f"eddyline.evaluation.baselines.{module}"), class_name)
    except ImportError as error:
        raise Misconfigured(
            f"the baseline {name} needs PyTorch ({error}): it comes with `pip install 'eddyline[embedder]'`"
        ) from None
    return factory
