"""Audit: the log replayed into memory by the profiler's own code, and compared with what is stored."""

from eddyline.maintenance.audit.choice import Everyone, Sample, Who
from eddyline.maintenance.audit.report import Apart, Difference, Report
from eddyline.maintenance.audit.run import audit

__all__ = ["Apart", "Difference", "Everyone", "Report", "Sample", "Who", "audit"]
