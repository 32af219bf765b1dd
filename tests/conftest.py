"""What every test relies on: the shared fixtures, and no network for models."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import settings

# Before any test imports a library that reads them.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

settings.register_profile("usual", deadline=None)
settings.register_profile("thorough", deadline=None, max_examples=500)
settings.load_profile("usual")


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """A command that a test runs in this process sends log lines to a stream that is closed afterwards."""
    yield
    structlog.reset_defaults()


pytest_plugins = [
    "tests.support.shared",
    "tests.support.tiers",
    "tests.support.kafka",
    "tests.support.vectors",
    "tests.support.browser",
]
