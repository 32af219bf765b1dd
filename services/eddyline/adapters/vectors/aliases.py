"""What may be made an alias of what, alike in every store."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from eddyline.errors import EddylineError, Misconfigured


def with_changes(
    aliases: Mapping[str, str], changes: Mapping[str, str | None], collections: Collection[str]
) -> dict[str, str]:
    """The aliases after the changes (None removes).

    Raises `Misconfigured` where a collection is missing, `EddylineError` where an alias has a collection's name.
    """
    for alias, collection in changes.items():
        if collection is None:
            continue
        if collection not in collections:
            raise Misconfigured(f"there is no collection `{collection}` for the alias `{alias}` to point to")
        if alias in collections:
            raise EddylineError(f"`{alias}` can't be an alias: a collection has that name")
    after = {**aliases, **changes}
    return {alias: collection for alias, collection in after.items() if collection is not None}


def without_collection(aliases: Mapping[str, str], collection: str) -> dict[str, str]:
    """The aliases that remain when the collection is gone."""
    return {alias: target for alias, target in aliases.items() if target != collection}
