"""Audit: every profile worked out anew from the log, by other code than the profiler's, and compared."""

from eddyline.offline.audit.choice import Everyone, Sample, Who
from eddyline.offline.audit.comparison import TOLERANCE, Difference
from eddyline.offline.audit.report import Apart, Report
from eddyline.offline.audit.run import GROUP, Log, Progress, Silent, audit

__all__ = [
    "GROUP",
    "TOLERANCE",
    "Apart",
    "Difference",
    "Everyone",
    "Log",
    "Progress",
    "Report",
    "Sample",
    "Silent",
    "Who",
    "audit",
]
