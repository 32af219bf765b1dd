"""Audit: the log replayed into memory by the profiler's own code, and compared with what is stored."""

from eddyline.maintenance.audit.audit_report import AuditReport, Difference, Inconclusive
from eddyline.maintenance.audit.run import Everyone, PeopleSelection, Sample, audit

__all__ = ["AuditReport", "Difference", "Everyone", "Inconclusive", "PeopleSelection", "Sample", "audit"]
