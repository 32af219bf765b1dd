"""compose.yaml as Compose would read it, as far as tests need it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
SECRETS = {
    "EDDYLINE_QDRANT__API_KEY": "a-key-of-qdrant",
    "KAFKA_ADMIN_PASSWORD": "a-password-of-admin",
    "KAFKA_SERVICES_PASSWORD": "a-password-of-services",
    "KAFKA_APPS_PASSWORD": "a-password-of-apps",
}
"""What `deploy/secrets.sh` puts into .env, by name."""
_REQUIRED = re.compile(r"\$\{(\w+):\?[^}]+\}")


def compose_file(variables: Mapping[str, str] = SECRETS) -> dict[str, Any]:
    """compose.yaml with these variables in their places."""
    text = (ROOT / "compose.yaml").read_text(encoding="utf-8")
    loaded: dict[str, Any] = yaml.safe_load(_REQUIRED.sub(lambda found: variables[found[1]], text))
    return loaded


def compose_variables() -> set[str]:
    """The variables that compose.yaml doesn't do without."""
    return set(_REQUIRED.findall((ROOT / "compose.yaml").read_text(encoding="utf-8")))
