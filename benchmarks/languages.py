"""What detecting languages costs, beside encoding the same texts: `.venv/bin/python benchmarks/languages.py`."""

from __future__ import annotations

import time
from collections.abc import Callable

from eddyline.adapters.encoders import create_text_encoder
from eddyline.adapters.language_detector import LanguageDetector
from eddyline.adapters.telemetry import Metrics
from eddyline.settings import Settings

TEXTS = 64
SENTENCE = "How to cross a river without losing height while the current is strong. "


def microseconds(work: Callable[[], object]) -> float:
    """A text, at the best of three runs."""
    runs = []
    for _ in range(3):
        started = time.perf_counter()
        work()
        runs.append(time.perf_counter() - started)
    return min(runs) / TEXTS * 1e6


def main() -> None:
    """A line for each length of text."""
    detect, encoder = LanguageDetector(), create_text_encoder(Settings(), Metrics())
    for sentences in (1, 4, 40):
        texts = [f"{number} {SENTENCE * sentences}" for number in range(TEXTS)]
        detecting = microseconds(lambda texts=texts: [detect(text) for text in texts])  # type: ignore[misc]
        encoding = microseconds(lambda texts=texts: encoder.encode(texts))  # type: ignore[misc]
        print(
            f"{len(texts[0]):>5} characters: detect {detecting:,.0f} µs, encode {encoding:,.0f} µs a text, "
            f"{100 * detecting / encoding:.1f} %"
        )


if __name__ == "__main__":
    main()
