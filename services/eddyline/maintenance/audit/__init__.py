"""Audit: the log replayed into memory by the profiler's own code, and compared with what is stored."""

from eddyline.maintenance.audit.report import Apart, Difference, Report
from eddyline.maintenance.audit.run import Everyone, Sample, Who, audit

__all__ = ["Apart", "Difference", "Everyone", "Report", "Sample", "Who", "audit"]
