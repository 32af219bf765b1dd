"""Texts of more tokens than a model reads: split into windows by its own tokenizer, their vectors pooled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from eddyline.model.text_windows import split_into_windows


@dataclass(frozen=True, slots=True)
class TextPiece:
    """A window's text and its number of tokens."""

    text: str
    tokens: int


@dataclass(frozen=True, slots=True)
class SplitText:
    """What is read of a text, and how many of its tokens are not."""

    pieces: tuple[TextPiece, ...]
    unread: int = 0


def fits(text: str, limit: int | None, frame: int) -> bool:
    """Whether a text is surely no longer than the model reads: no token is shorter than a byte."""
    return not limit or len(text.encode()) <= limit - frame


def split_texts(tokenizer: Any, texts: Sequence[str], limit: int, max_windows: int) -> list[SplitText]:
    """Split each text into at most `max_windows` windows; a text that the model reads as a whole is one piece, itself.

    `tokenizer` is a fast one of transformers, `limit` the tokens that the model reads, its frame among them.
    """
    size = max(1, limit - int(tokenizer.num_special_tokens_to_add()))
    encoded = tokenizer(
        list(texts),
        add_special_tokens=False,
        truncation=False,
        return_offsets_mapping=True,
        return_attention_mask=False,
        verbose=False,
    )
    return [_pieces(text, encoded, index, size, max_windows) for index, text in enumerate(texts)]


def _pieces(text: str, encoded: Any, index: int, size: int, max_windows: int) -> SplitText:
    offsets = encoded["offset_mapping"][index]
    if len(offsets) <= size:
        return SplitText((TextPiece(text, len(offsets)),))
    found = split_into_windows(offsets, encoded.word_ids(index), size, max_windows)
    return SplitText(tuple(TextPiece(text[one.start : one.end], one.tokens) for one in found.windows), found.unread)
