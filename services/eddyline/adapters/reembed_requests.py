"""Asking the process that holds a data directory to embed everything anew: by files in it.

Whoever may write there may ask. `lock` is held by a process that takes requests, for as long as it runs;
`request.json` waits to be taken, and `<id>.json` says how a taken one goes.
"""

from __future__ import annotations

import fcntl
import os
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Literal

import structlog
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from eddyline.errors import EddylineError, Misconfigured
from eddyline.settings import Encoder

FOLDER = "reembedding"
"""In the data directory."""
_LOCK, _REQUEST = "lock", "request.json"
_MOST_BYTES = 1_000_000

log = structlog.get_logger("reembed")


class Request(BaseModel):
    """What a command asks for. Its `encoder` has no keys: they are never written down."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(default_factory=lambda: uuid.uuid4().hex, pattern=r"^[0-9a-f]{32}$")
    encoder: Encoder
    needs_key: bool = False
    """Whether the command has an `encoder.api_key`, so that the process must have one, too."""
    images_model: str | None = None
    """The command's `images.model`, where images are on."""
    force: bool = False
    drop_old: bool = False


class Outcome(BaseModel):
    """How it ended: a summary, or why it failed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["done", "misconfigured", "failed"]
    message: str


class Progress(BaseModel):
    """How a request goes: what was said so far, how many of how many items were looked at, and in the end how it
    ended."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    said: tuple[str, ...] = ()
    done: int = 0
    total: int = 0
    outcome: Outcome | None = None


class RequestDesk:
    """The side of the process that holds the data directory. For one thread."""

    def __init__(self, data_dir: Path) -> None:
        """Take requests from now on; what was asked of an earlier process is dropped. Raises `Misconfigured` where the
        folder can't be used."""
        self._folder = data_dir / FOLDER
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._folder.chmod(0o700)
            for left in self._folder.glob("*.json*"):
                left.unlink(missing_ok=True)  # its command may be doing the same
            self._lock: int | None = os.open(self._folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX)  # only commands hold it beside us, for a moment
        except OSError as error:
            raise Misconfigured(f"data directory {data_dir} can't be used: {error}") from error

    def take(self) -> Request | None:
        """The request that waits, if any, which then no longer does. One that can't be is dropped, and logged."""
        path = self._folder / _REQUEST
        try:
            file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)  # a pipe would block
        except FileNotFoundError:
            return None
        except OSError as error:
            log.warning("a request can't be read", path=str(path), reason=str(error))
            with suppress(OSError):
                path.unlink()  # a link, mostly, which would be met again and again
            return None
        try:
            is_ours = os.fstat(file).st_uid in (os.geteuid(), 0)
            content = os.read(file, _MOST_BYTES)
        finally:
            os.close(file)
        try:
            if not is_ours:
                log.warning("a request by another user is refused", path=str(path))
                return None
            request = Request.model_validate_json(content)
            self.tell(request, Progress())  # before it is gone, since what is neither there nor told of was dropped
        except ValidationError as error:
            log.warning("a request is of another version, or damaged", path=str(path), reason=str(error))
            return None
        finally:
            path.unlink(missing_ok=True)
        return request

    def tell(self, request: Request, progress: Progress) -> None:
        """Whoever asked reads this next. A disk that takes nothing is logged: the work goes on."""
        path = self._folder / f"{request.id}.json"
        draft = path.with_suffix(".json.new")
        try:
            draft.write_text(progress.model_dump_json(), encoding="utf-8")
            draft.rename(path)
        except OSError as error:
            log.warning("progress can't be told", path=str(path), reason=str(error))

    def close(self) -> None:
        """Take no more. A second call does nothing."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


class PendingRequest:
    """The side of the command. The caller must `close` it."""

    def __init__(self, data_dir: Path, request: Request) -> None:
        """Ask. Raises `Misconfigured` where another command's request waits already, or the folder can't be used."""
        self._folder, self._request = data_dir / FOLDER, request
        draft = self._folder / f"{request.id}.json.new"
        try:
            draft.write_text(request.model_dump_json(), encoding="utf-8")
            draft.chmod(0o644)  # the folder is closed to others; root may ask a process of another user
            try:
                os.link(draft, self._folder / _REQUEST)  # unlike a rename, it never replaces another's
            finally:
                draft.unlink()
        except FileExistsError:
            raise Misconfigured(
                f"another `eddyline reembed` waits for the process that holds {data_dir} already: let that one end"
            ) from None
        except OSError as error:
            raise Misconfigured(f"the process that holds {data_dir} can't be asked: {error}") from error

    def progress(self) -> Progress | None:
        """How it goes; None until it is taken. Raises `EddylineError` where the process has ended, or dropped it."""
        is_there = is_served(self._folder.parent)  # asked first: what it said last is then there to read
        waits = self._waits()
        try:
            said = Progress.model_validate_json(self._answer.read_bytes())
        except FileNotFoundError:
            said = None
        except (OSError, ValidationError) as error:
            raise EddylineError(f"{self._answer} can't be read: {error}") from error
        if said is not None and (is_there or said.outcome is not None):
            return said
        if not is_there:
            raise EddylineError(
                "the process that was asked has ended. Nothing is lost: what was live before is, unless it said "
                "otherwise. Run the command again"
            )
        if not waits:
            raise EddylineError("the process dropped the request: its log says why. Is it of this version?")
        return None

    def close(self) -> None:
        """Withdraw it where it wasn't taken. One that was taken goes on."""
        with suppress(OSError):
            if self._waits():
                (self._folder / _REQUEST).unlink()
            self._answer.unlink(missing_ok=True)

    @property
    def _answer(self) -> Path:
        return self._folder / f"{self._request.id}.json"

    def _waits(self) -> bool:
        try:
            return self._request.id in (self._folder / _REQUEST).read_text(encoding="utf-8")
        except OSError:
            return False


def is_served(data_dir: Path) -> bool:
    """Whether a process takes requests for this data directory."""
    try:
        file = os.open(data_dir / FOLDER / _LOCK, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False
