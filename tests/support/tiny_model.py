"""A model of sentence-transformers that is made on the spot."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any


def tiny_model(folder: Path, limit: int = 16) -> Path:
    """A BERT of random weights, made in this new folder: 32 dimensions, at most `limit` tokens."""
    import torch

    bert: Any = import_module("transformers")
    sentences: Any = import_module("sentence_transformers")
    layers: Any = import_module("sentence_transformers.sentence_transformer.modules")
    letters = [chr(code) for code in range(33, 127)]
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(words))
    torch.manual_seed(7)
    config = bert.BertConfig(
        vocab_size=len(words),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    bert.BertModel(config).save_pretrained(folder / "bert")
    bert.BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder / "bert")
    words_in = layers.Transformer(str(folder / "bert"), max_seq_length=limit)
    pooled = layers.Pooling(words_in.get_embedding_dimension())
    sentences.SentenceTransformer(modules=[words_in, pooled]).save(str(folder / "model"))
    return folder / "model"
