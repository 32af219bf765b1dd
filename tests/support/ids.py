"""Names of parametrized tests that are the same in every process: each worker collects for itself."""

from __future__ import annotations


def stable(value: object) -> str:
    """As `str`, but sets sorted: their order differs between processes."""
    return str(sorted(value)) if isinstance(value, set | frozenset) else str(value)
