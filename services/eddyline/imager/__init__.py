"""Imager: items' pictures into vectors."""

from eddyline.imager.service import AHEAD, Imager
from eddyline.imager.waiting import KeptWaiting, Waiting

__all__ = ["AHEAD", "Imager", "KeptWaiting", "Waiting"]
