"""The files of an embedded store: one lock for the directory, one folder for each collection."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from pathlib import Path

import orjson
import qdrant_edge as edge

from eddyline.adapters.private_files import SyncedTree, make_private, sync_path
from eddyline.adapters.vectors.contract import CollectionSpec, DenseSpec
from eddyline.adapters.vectors.edge_conversion import to_config
from eddyline.errors import AlreadyRunning, EddylineError, Misconfigured, Unavailable
from eddyline.model.distance import Distance

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*")
_DROPPED = ".dropped-"
_WRITE_AHEAD_LOG = "wal"
"""Edge's folder in a shard. What it holds makes the other files whole after a power cut, so it is on disk first."""


class EdgeDirectory:
    """A data directory that this process alone holds.

    `<collection>/shard` is Edge's own, `<collection>/vectors.json` says which vectors it was made with, and
    `aliases.json` which collection an alias points to. Names of what is half made or half deleted begin with a dot.
    """

    def __init__(self, path: Path) -> None:
        """Raises `AlreadyRunning` where another process holds it, `Misconfigured` where it is unusable."""
        self.path = path
        try:
            make_private(path)
            self._lock = os.open(path / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise Misconfigured(f"data directory {path} can't be used: {error}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise AlreadyRunning(
                f"data directory {path} is in use by another process: stop that one, or choose another"
            ) from error
        self._names = SyncedTree(path, recursive=False)
        self._synced: dict[str, SyncedTree] = {}
        for remains in path.glob(f"{_DROPPED}*"):
            shutil.rmtree(remains, ignore_errors=True)

    def collections(self) -> list[str]:
        """Return the names of the collections that were created here."""
        return sorted(each.name for each in self.path.iterdir() if _NAME.fullmatch(each.name) and self.has(each.name))

    def has(self, collection: str) -> bool:
        """Whether the collection was created here."""
        return (self._folder(collection) / "vectors.json").is_file()

    def create(self, spec: CollectionSpec) -> None:
        """Create the collection's shard, whole or not at all."""
        folder = self._folder(spec.name)
        draft = folder.with_name(f".{folder.name}.new")
        shutil.rmtree(draft, ignore_errors=True)
        (draft / "shard").mkdir(parents=True)
        edge.EdgeShard.create(str(draft / "shard"), to_config(spec)).close()
        _write_json(draft / "vectors.json", {"dense": spec.dense, "sparse": spec.sparse})
        SyncedTree(draft).sync()  # Edge leaves most of what it makes to the system
        draft.rename(folder)

    def drop(self, collection: str) -> None:
        """Delete a collection's files, whole or not at all even if it is killed meanwhile."""
        aside = self.path / f"{_DROPPED}{collection}"
        shutil.rmtree(aside, ignore_errors=True)
        self._folder(collection).rename(aside)
        shutil.rmtree(aside, ignore_errors=True)

    def aliases(self) -> dict[str, str]:
        """Read the aliases, name → collection."""
        try:
            aliases: dict[str, str] = orjson.loads((self.path / "aliases.json").read_bytes())
        except FileNotFoundError:
            return {}
        return aliases

    def set_aliases(self, aliases: dict[str, str]) -> None:
        """Replace them all, at once and durably."""
        _write_json(self.path / "aliases.json", aliases)

    def load(self, collection: str) -> edge.EdgeShard:
        """Open the collection's shard."""
        try:
            return edge.EdgeShard.load(str(self._folder(collection) / "shard"))
        except Exception as error:
            if "WouldBlock" in str(error):
                raise AlreadyRunning(f"collection `{collection}` in {self.path} is open in another process") from error
            raise EddylineError(f"collection `{collection}` in {self.path} can't be opened: {error}") from error

    def vectors(self, collection: str) -> tuple[dict[str, DenseSpec], tuple[str, ...]]:
        """Read which dense and sparse vectors the collection has."""
        stored = orjson.loads((self._folder(collection) / "vectors.json").read_bytes())
        dense = {name: DenseSpec(each["size"], Distance(each["distance"])) for name, each in stored["dense"].items()}
        return dense, tuple(stored["sparse"])

    def record(self, collection: str, dense: dict[str, DenseSpec], sparse: tuple[str, ...]) -> None:
        """Write down the vectors that the collection has now, once its shard is flushed."""
        _write_json(self._folder(collection) / "vectors.json", {"dense": dense, "sparse": sparse})

    def sync(self, collection: str) -> None:
        """Have on disk what Edge's flush of a collection leaves to the system: new files, and what it didn't write.

        Between that flush and the end of this nobody may write to the collection: of a point that is written meanwhile,
        some files would have the new state on disk, and the write-ahead log not, which could make the others whole
        after a power cut. Raises `Unavailable`.
        """
        self._sync(self._synced.setdefault(collection, SyncedTree(self._folder(collection), _WRITE_AHEAD_LOG)))

    def sync_names(self) -> None:
        """Have on disk which collections there are. Raises `Unavailable`."""
        self._sync(self._names)

    def _sync(self, tree: SyncedTree) -> None:
        try:
            tree.sync()
        except OSError as error:
            raise Unavailable(f"data directory {self.path} can't be synchronised: {error}") from error

    def close(self) -> None:
        """Release the lock."""
        os.close(self._lock)

    def _folder(self, collection: str) -> Path:
        if not _NAME.fullmatch(collection):
            raise EddylineError(f"`{collection}` can't name a collection: letters, digits, `_`, `-` and `.` only")
        return self.path / collection


def _write_json(path: Path, value: object) -> None:
    """Replace a file whole, surviving a power failure."""
    draft = path.with_name(f"{path.name}.new")
    with draft.open("wb") as file:
        file.write(orjson.dumps(value, option=orjson.OPT_INDENT_2))
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)
    sync_path(path.parent)
