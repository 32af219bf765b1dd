"""The experiments file, read from the disk."""

from __future__ import annotations

from pathlib import Path

from eddyline.errors import Misconfigured
from eddyline.model.experiments.definitions import NO_EXPERIMENTS, Experiments, parse_experiments
from eddyline.settings import Settings


def load_experiments(path: Path, settings: Settings) -> Experiments:
    """Read a file; one that doesn't exist has no experiments.

    Raises `Misconfigured` naming all that is wrong, each by its experiment, variant and field.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return NO_EXPERIMENTS
    except OSError as error:
        raise Misconfigured(f"the experiments file {path} can't be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise Misconfigured(f"{path} is not valid TOML: {error}") from None
    return parse_experiments(text, settings, str(path))
