"""What every store checks: what a collection lacks of its spec, and what an alias may point to."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from eddyline.adapters.vectors.contract import CollectionSpec, DenseSpec
from eddyline.errors import EddylineError, Misconfigured
from eddyline.model.distance import Distance
from eddyline.settings import AttributeKind

_REMEDY = (
    "Set what it was made with, run `eddyline reembed`, or use another data directory (embedded) or prefix (server)."
)


@dataclass(frozen=True, slots=True)
class Stored:
    """A collection as it is: sizes and distances of its dense vectors, names of its sparse ones, its indexes.

    An index of a kind that we never create carries Qdrant's own name of it.
    """

    dense: Mapping[str, tuple[int, Distance | str]]
    sparse: frozenset[str]
    indexes: Mapping[str, AttributeKind | str]

    @classmethod
    def bare(cls, spec: CollectionSpec) -> Stored:
        """Describe a collection just made from `spec`: all of its vectors, no indexes."""
        dense = {name: (each.size, each.distance) for name, each in spec.dense.items()}
        return cls(dense=dense, sparse=frozenset(spec.sparse), indexes={})


@dataclass(frozen=True, slots=True)
class Lacking:
    """What must be added to a stored collection."""

    dense: Mapping[str, DenseSpec]
    sparse: tuple[str, ...]
    indexes: Mapping[str, AttributeKind]


def lacking(spec: CollectionSpec, stored: Stored) -> Lacking:
    """Return what `spec` asks for and `stored` lacks. What is stored beyond the spec may stay.

    Raises `Misconfigured` where the two disagree.
    """
    for name, specified in spec.dense.items():
        _check_dense(spec.name, name, specified, stored)
    for name in spec.sparse:
        if name in stored.dense:
            raise _mismatch(spec.name, f"vector `{name}`", _dense(*stored.dense[name]), "sparse")
    for path, kind in spec.indexes.items():
        found = stored.indexes.get(path, kind)
        if found != kind:
            raise _mismatch(spec.name, f"index on `{path}`", found, f"{kind}")
    return Lacking(
        dense={name: specified for name, specified in spec.dense.items() if name not in stored.dense},
        sparse=tuple(name for name in spec.sparse if name not in stored.sparse),
        indexes={path: kind for path, kind in spec.indexes.items() if path not in stored.indexes},
    )


def with_changes(
    aliases: Mapping[str, str], changes: Mapping[str, str | None], collections: Collection[str]
) -> dict[str, str]:
    """Return the aliases after the changes (None removes).

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
    """Return the aliases that remain when the collection is gone."""
    return {alias: target for alias, target in aliases.items() if target != collection}


def _check_dense(collection: str, name: str, specified: DenseSpec, stored: Stored) -> None:
    needed = (specified.size, specified.distance)
    if name in stored.sparse:
        raise _mismatch(collection, f"vector `{name}`", "sparse", _dense(*needed))
    found = stored.dense.get(name, needed)
    if found != needed:
        raise _mismatch(collection, f"vector `{name}`", _dense(*found), _dense(*needed))


def _dense(size: int, distance: str) -> str:
    return f"{size} dimensions, {distance}"


def _mismatch(collection: str, what: str, found: str, specified: str) -> Misconfigured:
    return Misconfigured(f"collection `{collection}`, {what}: stored is {found}; asked for is {specified}. {_REMEDY}")
