"""A text that is longer than a model reads, as windows that it can read one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

OVERLAP = 8
"""A window begins within about the last eighth of the one before, so that what lies at an edge is read whole once."""


@dataclass(frozen=True, slots=True)
class TextWindow:
    """Characters `start` to `end` of a text, and how many tokens they are."""

    start: int
    end: int
    tokens: int


@dataclass(frozen=True, slots=True)
class TextWindows:
    """The windows, and how many tokens come after the last one."""

    windows: tuple[TextWindow, ...]
    unread: int


def split_into_windows(
    offsets: Sequence[tuple[int, int]], words: Sequence[int | None], size: int, max_windows: int
) -> TextWindows:
    """Return overlapping windows of at most `size` tokens, at most `max_windows` of them, from the text's beginning.

    `offsets`: the characters of each token, start and end; several tokens may be one character. `words`: the word of
    each. A window begins and ends between words; where a word (or a text without spaces) is longer than half a window,
    between characters.
    """
    found: list[TextWindow] = []
    overlap, begin = size // OVERLAP, 0
    while begin < len(offsets) and len(found) < max_windows:
        end = min(begin + size, len(offsets))
        if end < len(offsets):
            end = _edge(offsets, words, begin + max(1, size // 2), end)
        found.append(TextWindow(offsets[begin][0], offsets[end - 1][1], end - begin))
        if end == len(offsets):
            return TextWindows(tuple(found), 0)
        begin, last = _edge(offsets, words, max(begin + 1, end - 2 * overlap), end - overlap), end
    return TextWindows(tuple(found), len(offsets) - last if found else len(offsets))


def _edge(offsets: Sequence[tuple[int, int]], words: Sequence[int | None], lowest: int, highest: int) -> int:
    """Return the last token in between that begins a word, or else a character."""
    tokens = range(highest, lowest - 1, -1)
    for token in tokens:
        if words[token] != words[token - 1]:
            return token
    return next((token for token in tokens if offsets[token][0] >= offsets[token - 1][1]), highest)
