"""Texts are encoded once per space, and kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.support.fakes import TinyEncoder

from eddyline.clients.progress import ProgressListener
from eddyline.errors import InvalidInput
from eddyline.evaluation.embedding_cache import cache_directory, cached_vectors
from eddyline.model.text import single_parts


def cached(encoder: TinyEncoder, directory: Path, *texts: str) -> NDArray[np.float32]:
    return cached_vectors(single_parts(texts), encoder, directory, ProgressListener())


def test_only_a_changed_text_is_encoded_again(tmp_path: Path) -> None:
    first, second = TinyEncoder(), TinyEncoder()
    before = cached(first, tmp_path, "space", "soup")
    after = cached(second, tmp_path, "soup", "space opera", "soup")
    assert second.texts == ["space opera"]
    assert (after[[0, 2]] == before[1]).all()
    assert after[1] == pytest.approx(TinyEncoder().encode(["space opera"])[0])


def test_spaces_do_not_share_vectors(tmp_path: Path) -> None:
    cached(TinyEncoder(), tmp_path, "space")
    other = TinyEncoder("other-t1")
    cached(other, tmp_path, "space")
    assert other.texts == ["space"]


@pytest.mark.parametrize("content", [b"", b"no array", "other"])
def test_a_damaged_file_says_what_to_delete(tmp_path: Path, content: bytes | str) -> None:
    file = tmp_path / "tiny-t1.npy"
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        np.save(file, np.zeros(3))
    with pytest.raises(InvalidInput, match=r"tiny-t1\.npy .*delete it"):
        cached(TinyEncoder(), tmp_path, "space")


def test_the_cache_is_where_caches_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_directory() == tmp_path / "eddyline" / "vectors"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_directory() == tmp_path / "home" / ".cache" / "eddyline" / "vectors"
