"""Copies of an embedded installation's data directory: made while it runs, and put back into an empty one.

The store is copied first, while nothing is written to it, then the journal as it is from that moment on. So no
watermark in the copy is ahead of its log, and what consumer groups had stored by then is in it: a start on the copy
goes on from there, as after a power cut, and handles the rest of the log again. What insights has measured is in the
log. A backup is whole once its manifest is there: it is made beside its place, and moved there at the end.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import orjson

from eddyline import __version__
from eddyline.adapters.kafka.embedded.journal_database import lock_directory
from eddyline.adapters.kafka.embedded.journal_snapshot import journal_snapshot
from eddyline.adapters.kafka.embedded.store_hold import store_held
from eddyline.adapters.private_files import SyncedTree, make_private, sync_path
from eddyline.adapters.vectors import EdgeStore
from eddyline.adapters.vectors.edge_directory import EdgeDirectory
from eddyline.errors import AlreadyRunning, EddylineError, Misconfigured
from eddyline.maintenance.data_directory import INSTALLATION, JOURNAL, UNFINISHED_RESTORE, VECTORS

MANIFEST = "backup.json"
_FORMAT = 1
_CHUNK = 64 * 1024
_ZEROS = bytes(_CHUNK)
_IGNORED = {"lost+found", UNFINISHED_RESTORE}
"""What an empty directory may hold: the root of a file system does, and a restore that was killed leaves it."""


@dataclass(frozen=True, slots=True)
class Backup:
    """What a backup holds. `points`: by collection; `records`: by topic; `files`: bytes and BLAKE2b of each, by path;
    `made_at`: epoch seconds."""

    format: int
    eddyline: str
    made_at: float
    points: Mapping[str, int]
    records: Mapping[str, int]
    files: Mapping[str, tuple[int, str]]


def make_backup(data_dir: Path, target: Path) -> Backup:
    """Copy a data directory to `target`, which must not exist, or be empty; Eddyline may run on it.

    Raises `Misconfigured` where there is nothing to copy, or no place for it, `AlreadyRunning` where another command
    uses the directory, `Unavailable` where the running process can't hold its store still, and `EddylineError`.
    """
    for needed in (VECTORS, JOURNAL):
        if not (data_dir / needed).is_dir():
            raise Misconfigured(f"{data_dir} is no data directory of an embedded Eddyline: it has no {needed}/")
    _require_empty(target, "choose another place for the backup")
    if target.is_mount():
        raise Misconfigured(f"{target} is where a file system is mounted: choose a directory in it")
    with _errors_named(f"the backup of {data_dir}"), _draft(target) as draft:
        with ExitStack() as stack:
            with _store_still(data_dir):
                _copy_tree(data_dir / VECTORS, draft / VECTORS)
                snapshot = stack.enter_context(journal_snapshot(data_dir / JOURNAL))
            (draft / JOURNAL).mkdir()
            records = snapshot.copy_to(draft / JOURNAL)
        with suppress(FileNotFoundError):
            _copy_file(data_dir / INSTALLATION, draft / INSTALLATION)
        points = _count_points(draft / VECTORS)
        files = {str(path.relative_to(draft)): _digest(path) for path in _files(draft)}
        made = Backup(_FORMAT, __version__, time.time(), points, records, files)
        (draft / MANIFEST).write_bytes(orjson.dumps(asdict(made), option=orjson.OPT_INDENT_2))
    return made


def restore_backup(source: Path, data_dir: Path) -> Backup:
    """Put a backup into a data directory that is empty, or isn't there yet.

    Raises `Misconfigured` for one that isn't, or for what is no whole backup: then nothing is restored.
    """
    backup = _read_manifest(source)
    _require_empty(data_dir, "restore into another data directory (--data-dir), or move what is there away first")
    unfinished = data_dir / UNFINISHED_RESTORE
    with _errors_named(f"restoring {source}"):
        shutil.rmtree(unfinished, ignore_errors=True)  # of a run that was killed
        make_private(unfinished)
        try:
            for name, expected in backup.files.items():
                (unfinished / name).parent.mkdir(parents=True, exist_ok=True)
                _copy_file(source / name, unfinished / name)
                if _digest(unfinished / name) != expected:
                    raise Misconfigured(f"{source / name} is not what was backed up: take another backup")
            SyncedTree(unfinished).sync()
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
        for path in sorted(unfinished.iterdir()):
            path.rename(data_dir / path.name)
        sync_path(data_dir)
        unfinished.rmdir()  # from here on Eddyline starts on it
        sync_path(data_dir)
    return backup


@contextmanager
def _store_still(data_dir: Path) -> Iterator[None]:
    """Have nobody write to the store: not the process that runs on it, and no other where none does."""
    try:
        directory = EdgeDirectory(data_dir / VECTORS)
    except AlreadyRunning:
        with store_held(data_dir / JOURNAL):
            yield
        return
    with closing(directory):
        lock = lock_directory(data_dir / JOURNAL)
        try:
            yield
        finally:
            os.close(lock)


@contextmanager
def _draft(target: Path) -> Iterator[Path]:
    """Make a directory beside `target`, and move it there once it is whole and on disk; delete it after a failure."""
    draft = target.absolute().with_name(f".{target.absolute().name}.unfinished")
    make_private(draft)
    lock = os.open(draft, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise AlreadyRunning(f"another backup to {target} is being made") from None
    try:
        for remains in draft.iterdir():  # of a run that was killed
            shutil.rmtree(remains) if remains.is_dir() else remains.unlink()
        yield draft
        SyncedTree(draft).sync()
        draft.rename(target)
        sync_path(draft.parent)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    finally:
        os.close(lock)


@contextmanager
def _errors_named(deed: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise EddylineError(f"{deed} failed: {error}") from error


def _require_empty(directory: Path, remedy: str) -> None:
    try:
        found = sorted(path.name for path in directory.iterdir() if path.name not in _IGNORED)
    except FileNotFoundError:
        return
    except NotADirectoryError:
        raise Misconfigured(f"{directory} is a file: {remedy}") from None
    if found:
        raise Misconfigured(f"{directory} is not empty (it holds {found[0]}): {remedy}")


def _read_manifest(source: Path) -> Backup:
    try:
        fields: dict[str, Any] = orjson.loads((source / MANIFEST).read_bytes())
        files = {name: (size, digest) for name, (size, digest) in fields.pop("files").items()}
        backup = Backup(**fields, files=files)
    except FileNotFoundError:
        raise Misconfigured(f"{source} is no whole backup: it has no {MANIFEST}, which is written last") from None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise Misconfigured(f"{source / MANIFEST} can't be read ({error}): take another backup") from None
    if outside := [name for name in files if Path(name).is_absolute() or ".." in Path(name).parts]:
        raise Misconfigured(f"{source / MANIFEST} names a file that is not in it, {outside[0]}: take another backup")
    if backup.format > _FORMAT:
        raise Misconfigured(f"{source} was made by Eddyline {backup.eddyline}: restore it with that version")
    return backup


def _count_points(vectors: Path) -> dict[str, int]:
    """Open the store that was copied, as a start would, and count what is in it."""
    with closing(EdgeStore(vectors)) as store:
        return {name: store.count(name) for name in store.collections()}


def _copy_tree(source: Path, target: Path) -> None:
    """Copy a store's files; names that begin with a dot are locks, or half made."""
    target.mkdir()
    for path in sorted(source.rglob("*")):
        name = path.relative_to(source)
        if name.parts[0].startswith("."):
            continue
        if path.is_dir():
            (target / name).mkdir()
        else:
            _copy_file(path, target / name)


def _copy_file(source: Path, target: Path) -> None:
    """Copy a file; where it is all zeros, as most of Edge's are, the copy takes no room."""
    with source.open("rb", buffering=0) as read, target.open("xb", buffering=0) as written:
        while chunk := read.read(_CHUNK):
            if _ZEROS.startswith(chunk):
                written.seek(len(chunk), os.SEEK_CUR)
            else:
                written.write(chunk)
        written.truncate()


def _digest(path: Path) -> tuple[int, str]:
    digest = blake2b(digest_size=16)
    with path.open("rb", buffering=0) as read:
        while chunk := read.read(_CHUNK):
            digest.update(chunk)
    return path.stat().st_size, digest.hexdigest()


def _files(directory: Path) -> list[Path]:
    return sorted(path for path in directory.rglob("*") if path.is_file() and path.name != ".lock")
