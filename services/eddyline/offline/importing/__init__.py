"""Bringing existing data in: JSONL, CSV and MovieLens folders, over the HTTP API, items before events, resumable."""

from eddyline.offline.importing.importer import Importer, Progress, Report, Silent
from eddyline.offline.importing.sources import Source, open_source

__all__ = ["Importer", "Progress", "Report", "Silent", "Source", "open_source"]
