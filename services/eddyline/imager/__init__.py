"""Imager: items' pictures into vectors."""

from eddyline.imager.service import AHEAD, Imager

__all__ = ["AHEAD", "Imager"]
