"""The language of a text, by py3langid. The only door to it."""

from __future__ import annotations

from typing import Any

from eddyline.errors import Misconfigured
from eddyline.model.language import Detect, detect_no_language

CONFIDENCE = 0.8
"""Least probability at which a text that is judged as a whole has a language."""
HALF_CONFIDENCE = 0.6
"""The same for each half of a longer text."""
FEWEST_BYTES = 18
"""Least UTF-8 bytes of letters: 18 Latin letters, 9 Cyrillic or Arabic ones, 6 Han characters."""
SAMPLE = 150
"""Characters that are looked at, at either end of a text."""
NO_LANGUAGE = "zxx"


def language_detector(wanted: bool) -> Detect:
    """What detects languages, or nothing where that isn't wanted. Raises `Misconfigured` without py3langid."""
    return LanguageDetector() if wanted else detect_no_language


class LanguageDetector:
    """Tells the language of texts that are long enough and in one language. Safe from any thread.

    A text of two languages can look like one with confidence, so a longer one is judged by its halves: both sure of
    the same, or one (or none) unsure and the whole sure of the same.
    """

    def __init__(self) -> None:
        """Load the library's model, about a second. Raises `Misconfigured` where the library is missing."""
        try:
            from py3langid import langid
        except ImportError:
            raise Misconfigured(
                "encoder.detect_language needs py3langid: pip install 'eddyline[embedder]', or set it to false"
            ) from None
        self._identifier: Any = langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)

    def __call__(self, text: str) -> str | None:
        """ISO 639-1, or None: too few letters, no confident result, or two halves that differ."""
        sample = text if len(text) <= 2 * SAMPLE else f"{text[:SAMPLE]}\n{text[-SAMPLE:]}"
        letters = _letter_bytes(sample)
        if letters < FEWEST_BYTES:
            return None
        if letters < 2 * FEWEST_BYTES:
            return self._of(sample, CONFIDENCE)
        middle = _middle(sample)
        halves = {self._of(half, HALF_CONFIDENCE) for half in (sample[:middle], sample[middle:])}
        told = halves - {None}
        if len(told) > 1:
            return None  # a text of two languages has neither
        whole = self._of(sample, CONFIDENCE) if None in halves else told.pop()
        return whole if not told or whole in told else None

    def _of(self, text: str, confidence: float) -> str | None:
        code, probability = self._identifier.classify(text)
        return str(code) if probability >= confidence and code != NO_LANGUAGE else None


def _letter_bytes(text: str) -> int:
    return len("".join(filter(str.isalpha, text)).encode(errors="replace"))


def _middle(text: str) -> int:
    """Between words, where there is a blank anywhere near the middle."""
    half = len(text) // 2
    blank = text.find(" ", half, half + SAMPLE // 4)
    return half if blank < 0 else blank
