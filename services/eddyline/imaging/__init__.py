"""Imager: items' pictures into vectors."""

from eddyline.imaging.handler import IN_FLIGHT_PER_THREAD, ImageEmbedder
from eddyline.imaging.pending_uploads import PendingUploads

__all__ = ["IN_FLIGHT_PER_THREAD", "ImageEmbedder", "PendingUploads"]
