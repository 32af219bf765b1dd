"""What every test relies on: the shared fixtures, and no network for models."""

from __future__ import annotations

import os

from hypothesis import settings

# Before any test imports a library that reads them.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

settings.register_profile("usual", deadline=None)
settings.register_profile("thorough", deadline=None, max_examples=500)
settings.load_profile("usual")

pytest_plugins = ["tests.support.shared", "tests.support.tiers", "tests.support.kafka", "tests.support.vectors"]
