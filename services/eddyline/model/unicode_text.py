"""Texts that are Unicode as a whole: without halves of characters, which some encodings of JSON and files leave."""

from __future__ import annotations


def is_unicode(text: str) -> bool:
    """Tell whether a text has no lone surrogate, so that it can be encoded."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
