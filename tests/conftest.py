"""What every test relies on: the shared fixtures, and no network for models."""

from __future__ import annotations

import os

# Before any test imports a library that reads them.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

pytest_plugins = ["tests.support.kafka", "tests.support.vectors"]
