"""Windows: everything is read, in pieces that fit, and no word or character is cut where that can be helped."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from eddyline.model.text_windows import TextWindow, TextWindows, split_into_windows


def tokens(text: str, a_token: int = 4, per_character: int = 1) -> tuple[list[tuple[int, int]], list[int | None]]:
    """Tokens of up to `a_token` characters within words, or several for each character."""
    offsets: list[tuple[int, int]] = []
    words: list[int | None] = []
    place = 0
    for number, word in enumerate(text.split(" ")):
        for start in range(0, len(word), a_token):
            span = (place + start, place + min(start + a_token, len(word)))
            offsets += [span] * per_character
            words += [number] * per_character
        place += len(word) + 1
    return offsets, words


def shown(text: str, found: TextWindows) -> list[str]:
    return [text[one.start : one.end] for one in found.windows]


def test_a_text_that_fits_is_one_window() -> None:
    offsets, words = tokens("one two three")
    assert split_into_windows(offsets, words, 4, 16) == TextWindows((TextWindow(0, 13, 4),), 0)
    assert split_into_windows([], [], 4, 16) == TextWindows((), 0)


def test_windows_begin_and_end_between_words_and_overlap() -> None:
    text = " ".join(f"word{n:02}" for n in range(12))  # two tokens each
    found = split_into_windows(*tokens(text), 8, 16)
    assert shown(text, found)[:2] == ["word00 word01 word02 word03", "word03 word04 word05 word06"]
    assert shown(text, found)[-1].endswith("word11")
    assert found.unread == 0


def test_a_text_without_spaces_is_split_between_characters() -> None:
    text = "如何在不损失高度的情况下横渡河流" * 4
    offsets, _ = tokens(text, a_token=1, per_character=3)
    found = split_into_windows(offsets, [0] * len(offsets), 16, 100)
    assert all(len(piece) == 5 for piece in shown(text, found)[:-1]), "fifteen tokens of sixteen: whole characters"
    assert shown(text, found)[0] == text[:5]
    assert shown(text, found)[-1][-1] == text[-1]


def test_what_comes_after_the_last_window_is_counted() -> None:
    text = " ".join(["word"] * 100)
    found = split_into_windows(*tokens(text), 10, 3)
    assert len(found.windows) == 3
    read = 10 + 9 + 9
    assert found.unread == 100 - read


@given(st.lists(st.integers(1, 30), min_size=1, max_size=60), st.integers(1, 4), st.integers(1, 3), st.integers(1, 40))
def test_everything_is_read_in_windows_that_fit(lengths: list[int], a_token: int, each: int, size: int) -> None:
    offsets, words = tokens(" ".join("x" * length for length in lengths), a_token, each)
    found = split_into_windows(offsets, words, size, 10_000)
    assert found.unread == 0
    assert all(0 < one.tokens <= size for one in found.windows)
    starts = [one.start for one in found.windows]
    assert starts == sorted(starts)
    read = {place for one in found.windows for place in range(one.start, one.end)}
    assert {place for start, end in offsets for place in range(start, end)} <= read


@given(st.integers(1, 500), st.integers(1, 40), st.integers(1, 8))
def test_no_more_windows_than_allowed(count: int, size: int, most: int) -> None:
    offsets, words = tokens(" ".join(["word"] * count))
    found = split_into_windows(offsets, words, size, most)
    assert len(found.windows) <= most
    last = found.windows[-1]
    assert found.unread == sum(start >= last.end for start, _ in offsets)
