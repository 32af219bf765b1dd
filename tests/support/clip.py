"""A CLIP of random weights, in the layout in which the published ones are: 12 dimensions, images of 32 × 32."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any


def build_tiny_clip(folder: Path, seed: int = 7) -> Path:
    """The model's folder, for `images.model`."""
    torch: Any = import_module("torch")
    transformers: Any = import_module("transformers")
    letters = [chr(code) for code in range(33, 127)]
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: index for index, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokens = transformers.CLIPTokenizerFast(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=32)
    pixels = transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    layer = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    end = len(words) - 1
    marks = {"bos_token_id": end - 1, "eos_token_id": end, "pad_token_id": end}
    torch.manual_seed(seed)
    config = transformers.CLIPConfig(
        text_config={**layer, **marks, "vocab_size": len(words), "max_position_embeddings": 32},
        vision_config={**layer, "image_size": 32, "patch_size": 8},
        projection_dim=12,
    )
    model = folder / "model"
    transformers.CLIPModel(config).save_pretrained(model / "0_CLIPModel")
    transformers.CLIPProcessor(pixels, tokens).save_pretrained(model / "0_CLIPModel")
    only = {"idx": 0, "name": "0", "path": "0_CLIPModel", "type": "sentence_transformers.models.CLIPModel"}
    (model / "modules.json").write_text(json.dumps([only]))
    return model
