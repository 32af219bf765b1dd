"""Texts longer than the model reads: read in windows, in any script, and found by what is said at their end."""

from __future__ import annotations

from importlib import import_module
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tests.support.extras import needs
from tests.support.fakes import near

from eddyline.adapters.encoders.local import SentenceTransformerEncoder, _windows
from eddyline.adapters.encoders.long_texts import split_texts
from eddyline.adapters.telemetry import Metrics
from eddyline.errors import Misconfigured
from eddyline.settings import EncoderSettings

pytestmark = [needs("sentence_transformers", "embedder"), pytest.mark.xdist_group("torch")]

COUNCIL = "The quarterly report of the council covers budgets, repairs, parking fees and the schedule of meetings. "
MUSEUM = "The museum opened a new wing with paintings, sculptures and a large hall for concerts in the evening. "
HONEY = "At the end, the beekeepers explain how to harvest honey from hives without hurting the bees. "
SCRIPTS = {
    "Latin": "Wie man einen reißenden Fluss überquert, ohne an Höhe zu verlieren. ",
    "Cyrillic": "Как пересечь бурную реку, не теряя высоты и не замочив вещей. ",
    "Arabic": "كيف تعبر النهر الهائج دون أن تفقد الارتفاع ودون أن تبتل أمتعتك. ",
    "Han": "如何在不损失高度的情况下横渡湍急的河流而不弄湿行李",
}


@pytest.fixture(scope="module")
def pooling() -> tuple[SentenceTransformerEncoder, Metrics]:
    metrics = Metrics()
    return SentenceTransformerEncoder(EncoderSettings(), metrics), metrics


@pytest.fixture(scope="module")
def cutting() -> SentenceTransformerEncoder:
    return SentenceTransformerEncoder(EncoderSettings(long_text="cut"), Metrics())


@pytest.fixture(scope="module")
def bytewise() -> Any:
    """A tokenizer whose tokens are bytes: a Cyrillic or Arabic letter is two, a Han character three."""
    tokenizers: Any = import_module("tokenizers")
    transformers: Any = import_module("transformers")
    letters = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    one = tokenizers.Tokenizer(tokenizers.models.BPE({letter: n for n, letter in enumerate(letters)}, []))
    one.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    return transformers.PreTrainedTokenizerFast(tokenizer_object=one)


def truncated(metrics: Metrics) -> float:
    return metrics.registry.get_sample_value("eddyline_encoder_truncated_total") or 0.0


@pytest.mark.slow(10)
def test_a_paragraph_at_the_end_of_a_long_body_is_found(
    pooling: tuple[SentenceTransformerEncoder, Metrics], cutting: SentenceTransformerEncoder
) -> None:
    encoder, _ = pooling
    body, other = COUNCIL * 15 + HONEY * 6, MUSEUM * 20
    query = encoder.encode(["harvesting honey from bee hives"])[0]
    whole, elsewhere = (float(row @ query) for row in encoder.encode([body, other]))
    beginning, elsewhere_cut = (float(row @ query) for row in cutting.encode([body, other]))
    assert beginning < elsewhere_cut, "cut, the body is no nearer than one that says nothing of it"
    assert whole > elsewhere + 0.1
    assert whole > beginning + 0.1


@pytest.mark.slow(10)
def test_short_texts_are_encoded_as_ever_even_beside_a_long_one(
    pooling: tuple[SentenceTransformerEncoder, Metrics], cutting: SentenceTransformerEncoder
) -> None:
    encoder, _ = pooling
    short = ["red shoes", "a cat on the sofa", "", "many bytes, one token: " + "w" * 400]
    assert np.array_equal(encoder.encode(short[:3]), cutting.encode(short[:3]))
    together = encoder.encode([*short, COUNCIL * 30])
    near(together[:4], cutting.encode(short), 1e-4, 1e-5)
    near(np.linalg.norm(together, axis=1), np.ones(5), 1e-5)


@pytest.mark.slow(10)
def test_the_vector_of_a_long_text_is_the_mean_of_its_windows_by_tokens(
    pooling: tuple[SentenceTransformerEncoder, Metrics],
) -> None:
    encoder, _ = pooling
    body = COUNCIL * 30
    [found] = split_texts(encoder._model.tokenizer, [body], 256, 16)
    assert len(found.pieces) == 3
    rows = encoder.encode([piece.text for piece in found.pieces])
    total = np.sum([piece.tokens * row for piece, row in zip(found.pieces, rows, strict=True)], axis=0)
    near(encoder.encode([body])[0], total / np.linalg.norm(total), 1e-4, 1e-5)


@pytest.mark.slow(20)
def test_only_texts_of_more_windows_than_allowed_count_as_truncated(
    pooling: tuple[SentenceTransformerEncoder, Metrics],
) -> None:
    encoder, metrics = pooling
    before = truncated(metrics)
    encoder.encode([COUNCIL * 30, "red shoes"])
    assert truncated(metrics) == before
    encoder.encode(["word " * 4500, COUNCIL * 30])
    assert truncated(metrics) == before + 1


def test_windows_of_several_texts_are_encoded_together_sorted_by_length(
    pooling: tuple[SentenceTransformerEncoder, Metrics], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, _ = pooling
    encode, batches = encoder._model.encode, list[list[int]]()

    def noting(texts: list[str], **more: Any) -> Any:
        batches.append([len(text) for text in texts])
        return encode(texts, **more)

    monkeypatch.setattr(encoder._model, "encode", noting)
    encoder.encode([COUNCIL * 30, "red shoes", MUSEUM * 30, "hats"])
    [lengths] = batches
    assert len(lengths) > 6
    assert lengths == sorted(lengths, reverse=True)


@pytest.mark.parametrize("script", SCRIPTS)
def test_windows_fit_the_model_and_lose_nothing_in_any_script(
    pooling: tuple[SentenceTransformerEncoder, Metrics], script: str
) -> None:
    tokenizer, body = pooling[0]._model.tokenizer, SCRIPTS[script] * 40
    [found] = split_texts(tokenizer, [body], 256, 100)
    assert len(found.pieces) > 1
    assert max(len(ids) for ids in tokenizer([piece.text for piece in found.pieces])["input_ids"]) <= 256
    _is_all_read(body, [piece.text for piece in found.pieces])


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_character_of_several_tokens_is_never_cut(bytewise: Any, script: str) -> None:
    body = SCRIPTS[script] * 5
    [found] = split_texts(bytewise, [body], 64, 100)
    assert len(found.pieces) > 4
    for piece in found.pieces:
        assert piece.text in body
        assert len(piece.text.encode()) <= 64
    _is_all_read(body, [piece.text for piece in found.pieces])


def _is_all_read(body: str, pieces: list[str]) -> None:
    """The pieces follow one another in the body without a gap but for blanks."""
    end = 0
    for piece in pieces:
        start = body.rindex(piece, 0, end + len(piece) + 1)
        assert not body[end:start].strip()
        end = start + len(piece)
    assert not body[end:].strip()


def test_cutting_keeps_the_space_of_before_and_each_way_of_reading_has_its_own(
    pooling: tuple[SentenceTransformerEncoder, Metrics], cutting: SentenceTransformerEncoder
) -> None:
    assert pooling[0].model == f"{cutting.model}-p16"
    fewer = SentenceTransformerEncoder(EncoderSettings(long_text_windows=4), Metrics())
    assert fewer.model == f"{cutting.model}-p4"


def test_a_tokenizer_that_cannot_say_where_its_tokens_lie_is_refused_with_the_way_out() -> None:
    slow: Any = SimpleNamespace(max_seq_length=77, tokenizer=SimpleNamespace(is_fast=False))
    with pytest.raises(Misconfigured, match=r"encoder\.model 'clip'.*encoder\.long_text = \"cut\""):
        _windows(EncoderSettings(model="clip"), slow)
    assert _windows(EncoderSettings(model="clip", long_text="cut"), slow) == 0
    unlimited: Any = SimpleNamespace(max_seq_length=None, tokenizer=None)
    assert _windows(EncoderSettings(), unlimited) == 16
