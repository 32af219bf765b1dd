"""Whether a variant differs from its control, and by how much: safe to be asked at any time and often. Pure.

`compare_with_control` gives the difference with its bounds, `check_sample_ratio` whether people are split as they
should be, `plan_sample_size` and `plan_sample_size_from` how many people it takes, `describe_effect` says it in words.
docs/statistics.md has the formulas.
"""

from eddyline.insights.statistics.conclusions import describe_effect
from eddyline.insights.statistics.difference import METRICS, Effect, compare_with_control
from eddyline.insights.statistics.sample_ratio import SampleRatio, check_sample_ratio
from eddyline.insights.statistics.sample_size import SampleSizePlan, plan_sample_size, plan_sample_size_from

__all__ = [
    "METRICS",
    "Effect",
    "SampleRatio",
    "SampleSizePlan",
    "check_sample_ratio",
    "compare_with_control",
    "describe_effect",
    "plan_sample_size",
    "plan_sample_size_from",
]
