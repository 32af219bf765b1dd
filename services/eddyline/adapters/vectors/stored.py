"""What a collection has, compared with what it should have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from eddyline.adapters.vectors.contract import CollectionSpec, DenseSpec, IndexKind
from eddyline.errors import Misconfigured
from eddyline.model.distance import Distance

_WAY_OUT = (
    "Set what it was made with, run `eddyline reembed`, or use another data directory (embedded) or prefix (server)."
)


@dataclass(frozen=True, slots=True)
class Stored:
    """A collection as it is: sizes and distances of its dense vectors, names of its sparse ones, its indexes.

    An index of a kind that we never create carries Qdrant's own name of it.
    """

    dense: Mapping[str, tuple[int, Distance | str]]
    sparse: frozenset[str]
    indexes: Mapping[str, IndexKind | str]

    @classmethod
    def bare(cls, spec: CollectionSpec) -> Stored:
        """A collection just made from `spec`: all of its vectors, no indexes."""
        dense = {name: (each.size, each.distance) for name, each in spec.dense.items()}
        return cls(dense=dense, sparse=frozenset(spec.sparse), indexes={})


@dataclass(frozen=True, slots=True)
class Lacking:
    """What must be added to a stored collection."""

    dense: Mapping[str, DenseSpec]
    sparse: tuple[str, ...]
    indexes: Mapping[str, IndexKind]


def lacking(spec: CollectionSpec, stored: Stored) -> Lacking:
    """What `spec` asks for and `stored` lacks. What is stored beyond the spec may stay.

    Raises `Misconfigured` where the two disagree.
    """
    for name, asked in spec.dense.items():
        _agree_on_dense(spec.name, name, asked, stored)
    for name in spec.sparse:
        if name in stored.dense:
            raise _mismatch(spec.name, f"vector `{name}`", _dense(*stored.dense[name]), "sparse")
    for path, kind in spec.indexes.items():
        there = stored.indexes.get(path, kind)
        if there != kind:
            raise _mismatch(spec.name, f"index on `{path}`", there, f"{kind}")
    return Lacking(
        dense={name: asked for name, asked in spec.dense.items() if name not in stored.dense},
        sparse=tuple(name for name in spec.sparse if name not in stored.sparse),
        indexes={path: kind for path, kind in spec.indexes.items() if path not in stored.indexes},
    )


def _agree_on_dense(collection: str, name: str, asked: DenseSpec, stored: Stored) -> None:
    wanted = (asked.size, asked.distance)
    if name in stored.sparse:
        raise _mismatch(collection, f"vector `{name}`", "sparse", _dense(*wanted))
    there = stored.dense.get(name, wanted)
    if there != wanted:
        raise _mismatch(collection, f"vector `{name}`", _dense(*there), _dense(*wanted))


def _dense(size: int, distance: str) -> str:
    return f"{size} dimensions, {distance}"


def _mismatch(collection: str, what: str, there: str, asked: str) -> Misconfigured:
    return Misconfigured(f"collection `{collection}`, {what}: stored is {there}; asked for is {asked}. {_WAY_OUT}")
