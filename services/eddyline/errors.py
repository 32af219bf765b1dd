"""Every error that Eddyline raises on purpose, in one tree."""

from __future__ import annotations

MAX_REASON, MAX_FIELD = 1000, 200
"""Most characters of a reason and of a field: both may quote what was sent."""


class EddylineError(Exception):
    """The root: anything below says what was wrong, where, and how to fix it."""


class InvalidInput(EddylineError):
    """Input that can't be accepted: a request, an event, a file, a cursor.

    Over HTTP it becomes a 4xx problem; on a topic the record becomes a dead letter.
    """

    def __init__(self, reason: str, field: str | None = None) -> None:
        """`field` is the dotted path of the offending value, None where there is none."""
        self.reason = clip(reason, MAX_REASON)
        self.field = field if field is None else clip(field, MAX_FIELD)
        super().__init__(f"{self.field}: {self.reason}" if field else self.reason)


class InvalidEvent(InvalidInput):
    """A record that can't be read or can never be applied: it becomes a dead letter."""


class TooLarge(InvalidInput):
    """A body or a batch over its limit (HTTP 413)."""


class UnsupportedEncoding(InvalidInput):
    """A body that is encoded in a way that isn't read (HTTP 415)."""


class NotFound(EddylineError):
    """A person, an item or a page that doesn't exist (HTTP 404)."""


class Unauthenticated(EddylineError):
    """A request without a key that is known (HTTP 401)."""


class Forbidden(EddylineError):
    """Something that this key, or this proof, doesn't allow; or that is refused to pages of other sites (HTTP 403)."""


class WrongHost(EddylineError):
    """A request by a name that isn't this host's, as of a page that had its own name point here (HTTP 421)."""


class RateLimited(EddylineError):
    """More requests than a key may send (HTTP 429 with Retry-After)."""

    def __init__(self, reason: str, retry_after: float) -> None:
        """`retry_after` is in seconds."""
        self.retry_after = retry_after
        super().__init__(reason)


class NotEnabled(EddylineError):
    """A feature that is turned off in this process; the message says how to turn it on (HTTP 501)."""


class Overloaded(EddylineError):
    """Intake is refused for the moment; the sender should try again later (HTTP 503 with Retry-After)."""

    def __init__(self, reason: str, retry_after: float = 1.0) -> None:
        """`retry_after` is in seconds."""
        self.retry_after = retry_after
        super().__init__(reason)


class Unavailable(EddylineError):
    """Kafka, Qdrant or a running Eddyline is down, slow or restarting: worth retrying, for as long as it lasts."""


class GenerationChanged(Unavailable):
    """A new generation of items or profiles went live between two reads: another attempt reads only the new one."""


class UnexpectedResponse(EddylineError):
    """A response that an Eddyline's API doesn't give: from another role, a proxy, or a bug."""

    def __init__(self, url: str, status: int, detail: str) -> None:
        """`status`: 404 or 405 where there is no such path."""
        self.status, self.detail = status, detail
        super().__init__(f"{url} answered {status} ({detail})")


class FetchError(EddylineError):
    """What can't be fetched from an address that someone gave."""

    def __init__(self, reason: str, message: str) -> None:
        """`reason`: a short stable slug (`private_address`); `message`: what is wrong and how to fix it."""
        self.reason = reason
        super().__init__(message)


class FetchRefused(FetchError):
    """A URL, an address or an answer that isn't allowed: no further attempt will help until it is another."""


class FetchUnavailable(FetchError):
    """A host that is down, slow or busy: worth another attempt later."""


class ImageError(FetchError):
    """An image that can't be used."""


class ImageRefused(ImageError):
    """An image whose URL, address or content is not allowed, or not an image: no further attempt will help."""


class ImageUnavailable(ImageError):
    """An image whose host is down, slow or busy: worth another attempt later."""


class Misconfigured(EddylineError):
    """A setting, a topic or a collection isn't what it must be; nothing starts until it is fixed."""


class RecordFault(EddylineError):
    """What a record asks for, or what was made of it, can't be: it becomes a dead letter. Where that meets most records
    something else is wrong, and the share of dead letters stops the service."""


class OtherSpace(Misconfigured, RecordFault):
    """A vector of another model than those that it would be added to, or compared with."""


class NotStorable(RecordFault):
    """Points that the vector store refuses for what is in them."""


class AlreadyRunning(Misconfigured):
    """Another process holds the data directory."""


class Fenced(EddylineError):
    """A write that comes too late: what is stored has a higher epoch, of whoever took our partition over, or of
    ourselves before our epoch went back. The consume loop claims its partitions again, which only their owner can."""

    def __init__(self, message: str, epoch: int) -> None:
        """`epoch`: the highest that was seen."""
        self.epoch = epoch
        super().__init__(message)


class TooManyDeadLetters(EddylineError):
    """More than the set share of records were dead letters: the input is wrong, so the service stops."""


def clip(text: str, limit: int) -> str:
    """Return the text, or as much of it as there is room for."""
    return text if len(text) <= limit else text[: limit - 1] + "…"
