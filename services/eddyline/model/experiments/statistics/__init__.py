"""Whether a variant differs from its control, and by how much: safe to be asked at any time and often. Pure.

`compare` tells the difference with its bounds, `sample_ratio` whether people are split as they should be, `plan` and
`plan_from` how many people it takes, `sentence` says it in words. docs/statistics.md has the formulas.
"""

from eddyline.model.experiments.statistics.difference import METRICS, Effect, compare
from eddyline.model.experiments.statistics.planning import Plan, plan, plan_from
from eddyline.model.experiments.statistics.split import SampleRatio, sample_ratio
from eddyline.model.experiments.statistics.words import sentence

__all__ = [
    "METRICS",
    "Effect",
    "Plan",
    "SampleRatio",
    "compare",
    "plan",
    "plan_from",
    "sample_ratio",
    "sentence",
]
