"""Tests of what an extra brings are skipped where it isn't installed."""

from __future__ import annotations

from importlib.util import find_spec

import pytest


def needs(library: str, extra: str) -> pytest.MarkDecorator:
    """Skip where `library` is missing, without importing it: each worker collects every test."""
    return pytest.mark.skipif(find_spec(library) is None, reason=f"the extra `{extra}` isn't installed")
