"""Detect the language of a text, by py3langid. The only module that knows it."""

from __future__ import annotations

from typing import Any

from eddyline.errors import Misconfigured
from eddyline.model.language import Detect, detect_no_language

MIN_PROBABILITY = 0.8
"""Probability from which on a text that is judged as a whole has a language."""
MIN_HALF_PROBABILITY = 0.6
"""The same for each half of a longer text."""
MIN_LETTER_BYTES = 18
"""Fewest UTF-8 bytes of letters: 18 Latin letters, 9 Cyrillic or Arabic ones, 6 Han characters."""
SAMPLE_LENGTH = 150
"""Characters that are looked at, at either end of a text."""
NO_LANGUAGE = "zxx"


def language_detector(enabled: bool) -> Detect:
    """Return what detects languages; not enabled, it finds none. Raises `Misconfigured` without py3langid."""
    return LanguageDetector() if enabled else detect_no_language


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
        """Return the ISO 639-1 code, or None: too few letters, no confident result, or two halves that differ."""
        sample = text if len(text) <= 2 * SAMPLE_LENGTH else f"{text[:SAMPLE_LENGTH]}\n{text[-SAMPLE_LENGTH:]}"
        letters = _letter_bytes(sample)
        if letters < MIN_LETTER_BYTES:
            return None
        if letters < 2 * MIN_LETTER_BYTES:
            return self._classify(sample, MIN_PROBABILITY)
        middle = _middle(sample)
        halves = {self._classify(half, MIN_HALF_PROBABILITY) for half in (sample[:middle], sample[middle:])}
        found = halves - {None}
        if len(found) > 1:
            return None  # a text of two languages has neither
        whole = self._classify(sample, MIN_PROBABILITY) if None in halves else found.pop()
        return whole if not found or whole in found else None

    def _classify(self, text: str, confidence: float) -> str | None:
        code, probability = self._identifier.classify(text)
        return str(code) if probability >= confidence and code != NO_LANGUAGE else None


def _letter_bytes(text: str) -> int:
    return len("".join(filter(str.isalpha, text)).encode(errors="replace"))


def _middle(text: str) -> int:
    """Return the middle, between words where there is a blank near it."""
    half = len(text) // 2
    blank = text.find(" ", half, half + SAMPLE_LENGTH // 4)
    return half if blank < 0 else blank
