"""A disk that a test can fill, and cut the power of: `disk.c`, preloaded into the process whose files it is about."""

from __future__ import annotations

import ctypes
import random
import shutil
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("disk.c")
LOG = ("journal.db", "journal.db-wal")
"""The files of the embedded log: what a power cut tears is what was being written to them."""
_SECTOR = 512


def build_disk(directory: Path) -> Path | None:
    """Compile the library into a directory; None where there is no C compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    library = directory / "disk.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, SOURCE, "-ldl", "-lpthread"], check=True)
    return library


class Disk:
    """The disk under a directory; `scratch` is a new one beside it, for what the disk remembers."""

    def __init__(self, library: Path, root: Path, scratch: Path) -> None:
        """All that `root` holds by now counts as synchronised."""
        self.root, self._synchronised, self._full = root, scratch / "synchronised", scratch / "full"
        self._write_name = ctypes.CDLL(str(library)).disk_name
        self._synchronised.mkdir(parents=True)
        for path in root.rglob("*"):
            if path.is_file():
                shutil.copyfile(path, self._kept(path))
        self.env = {
            "LD_PRELOAD": str(library),
            "DISK_ROOT": str(root),
            "DISK_SHADOW": str(self._synchronised),
            "DISK_FULL": str(self._full),
        }

    def fill(self) -> None:
        """From now on nothing can be written."""
        self._full.touch()

    def free(self) -> None:
        """From now on it can again."""
        self._full.unlink()

    def leave(self, after: Path, chance: random.Random | None = None) -> None:
        """Copy the directory as a power cut leaves it: names as they were, of each file what was synchronised last, and
        none that never was. With `chance` some of what the log had got since is there, too: in any order, some of it
        with flipped bits."""
        after.mkdir(parents=True)
        for path in sorted(self.root.rglob("*")):
            to = after / path.relative_to(self.root)
            if path.is_dir():
                to.mkdir(parents=True)
            elif (kept := self._kept(path)).exists():
                shutil.copyfile(kept, to)
                if chance is not None and path.name in LOG:
                    _tear(path.read_bytes(), to, chance)

    def _kept(self, path: Path) -> Path:
        name = ctypes.create_string_buffer(64)
        if not self._write_name(bytes(path), name, ctypes.c_size_t(len(name))):
            raise FileNotFoundError(path)
        return self._synchronised / name.value.decode()


def _tear(written: bytes, to: Path, chance: random.Random) -> None:
    """Write some sectors over a file that differ in what was written, some of them damaged."""
    kept = to.read_bytes()
    torn = bytearray(kept)
    for at in range(0, len(written), _SECTOR):
        sector = written[at : at + _SECTOR]
        fate = chance.choice(("dropped", "arrived", "damaged"))
        if sector == kept[at : at + _SECTOR] or fate == "dropped":
            continue
        if fate == "damaged":
            bit = chance.randrange(len(sector) * 8)
            sector = sector[: bit // 8] + bytes([sector[bit // 8] ^ 1 << bit % 8]) + sector[bit // 8 + 1 :]
        torn.extend(bytes(max(0, at - len(torn))))
        torn[at : at + len(sector)] = sector
    to.write_bytes(torn)
