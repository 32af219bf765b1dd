"""The files of an embedded store: one lock for the directory, one folder a collection."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from pathlib import Path

import orjson
import qdrant_edge as edge

from eddyline.adapters.vectors.contract import CollectionSpec, DenseSpec, Distance
from eddyline.adapters.vectors.edge_values import to_config
from eddyline.errors import AlreadyRunning, EddylineError, Misconfigured

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*")


class EdgeDirectory:
    """A data directory that this process alone holds.

    `<collection>/shard` is Edge's own, `<collection>/vectors.json` says which vectors it was made with.
    """

    def __init__(self, path: Path) -> None:
        """Raises `AlreadyRunning` where another process holds it, `Misconfigured` where it is unusable."""
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(path / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise Misconfigured(f"data directory {path} can't be used: {error}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise AlreadyRunning(
                f"data directory {path} is in use by another process: stop that one, or choose another"
            ) from error

    def has(self, collection: str) -> bool:
        """Whether the collection was created here."""
        return (self._folder(collection) / "vectors.json").is_file()

    def create(self, spec: CollectionSpec) -> None:
        """Create the collection's shard, whole or not at all."""
        folder = self._folder(spec.name)
        draft = folder.with_name(f"{folder.name}.new")
        shutil.rmtree(draft, ignore_errors=True)
        (draft / "shard").mkdir(parents=True)
        edge.EdgeShard.create(str(draft / "shard"), to_config(spec)).close()
        _write_vectors(draft, spec.dense, spec.sparse)
        draft.rename(folder)

    def load(self, collection: str) -> edge.EdgeShard:
        """Open the collection's shard."""
        try:
            return edge.EdgeShard.load(str(self._folder(collection) / "shard"))
        except Exception as error:
            if "WouldBlock" in str(error):
                raise AlreadyRunning(f"collection `{collection}` in {self.path} is open in another process") from error
            raise EddylineError(f"collection `{collection}` in {self.path} can't be opened: {error}") from error

    def vectors(self, collection: str) -> tuple[dict[str, DenseSpec], tuple[str, ...]]:
        """The dense and sparse vectors that the collection has."""
        stored = orjson.loads((self._folder(collection) / "vectors.json").read_bytes())
        dense = {
            name: DenseSpec(each["size"], Distance(each["distance"]), each["indexed"])
            for name, each in stored["dense"].items()
        }
        return dense, tuple(stored["sparse"])

    def record(self, collection: str, dense: dict[str, DenseSpec], sparse: tuple[str, ...]) -> None:
        """Note the vectors that the collection has now, once its shard is flushed."""
        _write_vectors(self._folder(collection), dense, sparse)

    def close(self) -> None:
        """Let other processes have it."""
        os.close(self._lock)

    def _folder(self, collection: str) -> Path:
        if not _NAME.fullmatch(collection):
            raise EddylineError(f"`{collection}` can't name a collection: letters, digits, `_`, `-` and `.` only")
        return self.path / collection


def _write_vectors(folder: Path, dense: object, sparse: object) -> None:
    draft = folder / "vectors.json.new"
    with draft.open("wb") as file:
        file.write(orjson.dumps({"dense": dense, "sparse": sparse}, option=orjson.OPT_INDENT_2))
        file.flush()
        os.fsync(file.fileno())
    draft.rename(folder / "vectors.json")
