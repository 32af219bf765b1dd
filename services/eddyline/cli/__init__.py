"""The command line: `eddyline up`, one service each, and what helps to run them."""

from eddyline.cli.commands import app, main

__all__ = ["app", "main"]
