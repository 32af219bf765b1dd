"""The keys of the settings' file, read again when it changes.

A key is looked up by its SHA-256. It has 256 random bits, so that no slow hash is needed: nobody can go through them,
and a fast one costs a request next to nothing. Requests are served by one thread, which alone counts them.
"""

from __future__ import annotations

import hashlib
import secrets
import time
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import structlog
from pydantic import ValidationError

from eddyline.adapters.file_watcher import FileWatcher
from eddyline.adapters.telemetry import Metrics
from eddyline.errors import Misconfigured
from eddyline.model.token_bucket import TokenBucket
from eddyline.settings import KeyFile, KeySettings, Scope

PREFIX = "edk_"
"""How each key begins, so that a scanner for secrets finds one that got out."""
Clock: TypeAlias = Callable[[], float]

log = structlog.get_logger("http")


def new_key() -> str:
    """Make a key of 256 random bits."""
    return PREFIX + secrets.token_urlsafe(32)


def hash_key(key: bytes) -> bytes:
    """Hash a key as it is stored."""
    return hashlib.sha256(key).digest()


def load_keys(path: Path) -> tuple[KeySettings, ...] | None:
    """Read a file of keys; None where there is none. Raises `Misconfigured` naming all that is wrong, showing nothing
    of it: it may be a key."""
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Misconfigured(f"the file of keys {path} can't be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Misconfigured(f"{path} is not valid TOML: {error}") from None
    try:
        return KeyFile(**given).keys
    except ValidationError as error:
        lines = [f"  {'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors(include_input=False)]
        raise Misconfigured(
            f"wrong keys in {path} (`eddyline keys new` makes what belongs there):\n" + "\n".join(lines)
        ) from None


@dataclass(frozen=True, slots=True)
class Caller:
    """The sender of a request, and what they may do. `name`: of their key; None without one."""

    name: str | None
    scopes: frozenset[Scope]


class ApiKey:
    """A key in force, with what is left of its rate: a bucket that fills at its rate, up to what a second brings."""

    __slots__ = ("_bucket", "_rate", "caller", "digest", "expires", "name", "scopes")

    def __init__(self, settings: KeySettings, monotonic: Clock) -> None:
        self.name, self.scopes = settings.name, settings.scopes
        self.caller = Caller(self.name, self.scopes)
        self.digest = bytes.fromhex(settings.hash)
        self.expires = None if settings.expires is None else settings.expires.timestamp()
        self._rate = settings.requests_per_second
        self._bucket = None if self._rate is None else TokenBucket(self._rate, max(1.0, self._rate), monotonic)

    def spend(self) -> float:
        """Count a request; return the seconds until the next one is allowed: 0 where this one is."""
        if self._bucket is None or self._rate is None:
            return 0.0
        if (left := self._bucket.level()) < 1.0:
            return (1.0 - left) / self._rate
        self._bucket.spend(1.0)
        return 0.0


class KeyRing(FileWatcher):
    """The keys in force. A changed file that is wrong, or gone, is refused as a whole: the keys before stay in force.

    `always`: keys beside those of the file. `monotonic` in seconds.
    """

    def __init__(
        self, path: Path, metrics: Metrics, always: Sequence[KeySettings] = (), monotonic: Clock = time.monotonic
    ) -> None:
        """Read the file. Raises `Misconfigured` for a wrong one."""
        super().__init__(path, "keys")
        self._metrics, self._always, self._monotonic = metrics, tuple(always), monotonic
        loaded = load_keys(path)
        self.by_digest = self._in_force(loaded or ()) if loaded or always else None
        """By their hashes; None where there are none, so that nobody needs one."""

    def find(self, key: bytes) -> ApiKey | None:
        """Return the key in force that this is."""
        digest = hash_key(key)
        found = (self.by_digest or {}).get(digest)
        return found if found is not None and secrets.compare_digest(found.digest, digest) else None

    def _reload(self) -> None:
        try:
            loaded = load_keys(self._path)
            if loaded is None:
                raise Misconfigured(f"there is no file {self._path} any more")
        except Misconfigured as error:
            self._metrics.keys_refused.set(1)
            log.error("the changed keys are refused; those before stay in force", reason=str(error))
            return
        self._metrics.keys_refused.set(0)
        self.by_digest = self._in_force(loaded)

    def _in_force(self, keys: Sequence[KeySettings]) -> Mapping[bytes, ApiKey]:
        log.info("keys in force", file=str(self._path), names=[key.name for key in keys])
        return {one.digest: one for one in (ApiKey(key, self._monotonic) for key in (*self._always, *keys))}


def serving_key(secret: str) -> KeySettings:
    """Return `encoder.serving_key` as a key."""
    return KeySettings(
        name="encoder.serving_key", scopes=frozenset({Scope.OPERATE}), hash=hash_key(secret.encode()).hex()
    )
