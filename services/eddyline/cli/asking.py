"""`eddyline reembed` where a running process holds the data directory: it is asked, and followed until it is done."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import TypeAlias

from eddyline.adapters.encoders.local import PACKAGED
from eddyline.adapters.reembed_requests import Outcome, PendingRequest, Progress, Request
from eddyline.errors import EddylineError, Misconfigured
from eddyline.offline.rebuilding import Tell, nobody
from eddyline.offline.replay import Say
from eddyline.settings import Encoder, Settings

LOOK_SECONDS = 0.2
PATIENT_SECONDS = 5.0
"""After so long it is said what is waited for."""
Bar: TypeAlias = Callable[[str, int], AbstractContextManager[Tell]]
"""Shows how many of how many (named by the text) are done."""


def ask_holder(
    settings: Settings, force: bool, drop_old: bool, say: Say, bar: Bar, sleep: Callable[[float], None] = time.sleep
) -> str:
    """Ask the process that holds `settings.data_dir` to embed everything anew with `settings.encoder`; its summary.

    Interrupted, it withdraws what wasn't begun. Raises `Misconfigured` or `EddylineError`, as the process says.
    """
    request = Request(
        encoder=without_keys(settings.encoder),
        needs_key=settings.encoder.api_key is not None,
        images_model=settings.images.model if settings.images.enabled else None,
        force=force,
        drop_old=drop_old,
    )
    pending = PendingRequest(settings.data_dir, request)
    say(f"{settings.data_dir} is in use: the process that serves it is asked to do it")
    try:
        outcome = _follow(pending, say, bar, sleep)
    except KeyboardInterrupt:
        say("not followed any more; what the process has begun goes on, and its log says how it ends")
        raise
    finally:
        pending.close()
    if outcome.kind == "done":
        return outcome.message
    raise (Misconfigured if outcome.kind == "misconfigured" else EddylineError)(outcome.message)


def without_keys(encoder: Encoder) -> Encoder:
    """As another process can take it over: no secrets, and no paths that depend on where a process was started."""
    model = encoder.model
    if encoder.kind == "local" and model != PACKAGED and Path(model).exists():
        model = str(Path(model).resolve())
    cache_dir = encoder.cache_dir.expanduser().absolute()
    return encoder.model_copy(update={"api_key": None, "serving_key": None, "model": model, "cache_dir": cache_dir})


def _follow(pending: PendingRequest, say: Say, bar: Bar, sleep: Callable[[float], None]) -> Outcome:
    progress = _begun(pending, say, sleep)
    said = done = 0
    tell: Tell = nobody
    with ExitStack() as stack:
        while True:
            for line in progress.said[said:]:
                say(line)
            if progress.total and tell is nobody:
                tell = stack.enter_context(bar("items", progress.total))
            tell(progress.done - done)
            said, done = len(progress.said), progress.done
            if progress.outcome is not None:
                return progress.outcome
            sleep(LOOK_SECONDS)
            progress = _further(pending)


def _begun(pending: PendingRequest, say: Say, sleep: Callable[[float], None]) -> Progress:
    waited = 0.0
    while (progress := pending.progress()) is None:
        sleep(LOOK_SECONDS)
        if waited < PATIENT_SECONDS <= waited + LOOK_SECONDS:
            say("it is still starting, or embeds anew for another command: waiting")
        waited += LOOK_SECONDS
    return progress


def _further(pending: PendingRequest) -> Progress:
    progress = pending.progress()
    if progress is None:
        raise EddylineError("the process forgot the request: run the command again")
    return progress
