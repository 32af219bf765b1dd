"""Eddyline: a streaming, event-driven recommender."""

from importlib.metadata import version

__version__ = version("eddyline")
