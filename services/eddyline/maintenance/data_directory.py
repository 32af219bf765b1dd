"""The names in a data directory of the embedded mode."""

from __future__ import annotations

from pathlib import Path

from eddyline.errors import Misconfigured

VECTORS, JOURNAL, INSTALLATION = "vectors", "journal", "installation"
UNFINISHED_RESTORE = ".unfinished-restore"
"""What is half restored: nothing may be started on the directory that holds it."""


def check_restored(data_dir: Path) -> None:
    """Raise `Misconfigured` where a restore was cut short."""
    if (data_dir / UNFINISHED_RESTORE).exists():
        raise Misconfigured(
            f"the data directory {data_dir} is only half restored: delete it, and run `eddyline restore` again"
        )
