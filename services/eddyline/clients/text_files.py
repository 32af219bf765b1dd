"""Text files as people keep them: plain, gzip or Zstandard; UTF-8, or UTF-16 with its mark."""

from __future__ import annotations

import codecs
import gzip
import hashlib
import io
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

from backports import zstd

from eddyline.errors import InvalidInput

_UNPACKERS: Mapping[str, Callable[[BinaryIO], object]] = {
    ".gz": lambda packed: gzip.GzipFile(fileobj=packed),
    ".zst": zstd.ZstdFile,
}
PACKED = tuple(_UNPACKERS)
_CHUNK = 1 << 20
_BLOCK = 1 << 16
"""Bytes that are unpacked at once: of a cut file what came before is read."""


class ContentDigest(NamedTuple):
    """How much a file holds when it is unpacked, and a digest of that."""

    bytes: int
    digest: str


def kind_of(file: Path) -> str:
    """Return the suffix of a file as it is when unpacked: `.csv` of sales.csv.gz."""
    return (Path(file.stem) if file.suffix.lower() in PACKED else file).suffix.lower()


def read_lines(file: Path) -> Iterator[str]:
    """Read lines with their ends. Bytes that are no UTF-8 become lone surrogates, so that one line alone is wrong.

    Raises `InvalidInput` where the file can't be read any further.
    """
    with _opened(file) as opened:
        start = opened.peek(2)[:2]
        is_wide = start in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
        encoding, faults = ("utf-16", "replace") if is_wide else ("utf-8-sig", "surrogateescape")
        with io.TextIOWrapper(opened, encoding=encoding, errors=faults, newline="") as text:
            yield from text


def digest_content(file: Path, prefix: int = 0) -> tuple[ContentDigest, str]:
    """Digest what a file holds, as far as it can be read, and its first `prefix` bytes alone."""
    whole, size, first = hashlib.sha256(), 0, hashlib.sha256()
    with suppress(InvalidInput), _opened(file) as opened:
        while chunk := opened.read(_CHUNK):
            first.update(chunk[: max(0, prefix - size)])
            whole.update(chunk)
            size += len(chunk)
    return ContentDigest(size, whole.hexdigest()[:32]), first.hexdigest()[:32]


@contextmanager
def _opened(file: Path) -> Iterator[io.BufferedReader[Any]]:
    """Open a file, unpacked. Raises `InvalidInput` where it can't be read."""
    try:
        with file.open("rb") as packed:
            unpack = _UNPACKERS.get(file.suffix.lower())
            if unpack is None:
                yield packed
                return
            with io.BufferedReader(cast(io.RawIOBase, unpack(packed)), _BLOCK) as unpacked:
                yield unpacked
    except (OSError, EOFError, zlib.error, zstd.ZstdError) as error:
        raise InvalidInput(f"can't be read any further: {error}") from None
