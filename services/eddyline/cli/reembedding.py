"""Another encoder while this process serves: it embeds everything anew in a thread, then swaps encoder and generation.

For a process that holds its data directory, so that no other can. `eddyline reembed` asks it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial

import structlog

from eddyline.adapters.encoders import Encoding, ImageEncoder, LiveEncoding, PatientEncoder, text_encoder
from eddyline.adapters.kafka import KafkaOptions, LogReader, Record, TopicPartition
from eddyline.adapters.reembed_requests import Outcome, Progress, Request, RequestDesk
from eddyline.adapters.telemetry import Metrics
from eddyline.adapters.vectors import Collections, VectorStore, generations
from eddyline.cli.asking import without_keys
from eddyline.cli.consumers import Consumers
from eddyline.cli.rebuild import Renewal, connected, encoding_of
from eddyline.errors import EddylineError, Misconfigured, Unavailable
from eddyline.offline.rebuilding import Tell, Translate
from eddyline.offline.replay import NAMES, discard_unfinished
from eddyline.profiler import GROUP, TOPIC
from eddyline.settings import Settings

LOOK_SECONDS = 0.5
TELL_SECONDS = 0.5
LEAVING_SECONDS = 30.0
"""How long a stop of the process waits for a page that is being embedded."""
GRACE_SECONDS = 2.0
"""How long requests that were begun on the old generation may read it, before it is dropped."""

log = structlog.get_logger("reembed")


def mend(store: VectorStore) -> None:
    """Drop what a killed process has left half made, and lift its seals. For whoever has the store to itself: nobody
    else can be about to have another generation go live."""
    discard_unfinished(store, generations.live(store), lambda line: log.warning("mending", said=line))


class Stopped(EddylineError):
    """The process ends: the old generation stays live."""


class Errand:
    """One request on its way: what is said of it goes to whoever asked, and it ends soon when the process does."""

    def __init__(self, desk: RequestDesk, request: Request, stopping: threading.Event) -> None:
        self._desk, self._request, self._stopping = desk, request, stopping
        self._progress, self._told_at = Progress(), 0.0
        self.hurry: str | None = None
        """Why nothing may wait for an encoder, and what then is; None where it may."""
        self.live: str | None = None
        """What has gone live by it: a failure doesn't undo that."""

    def say(self, line: str) -> None:
        """Tell whoever asked."""
        log.info("embedding anew", said=line)
        if self._progress.outcome is None:
            self._tell(said=(*self._progress.said, line))

    def failing(self, reason: str) -> str:
        """What is said of a failure."""
        return (
            reason if self.live is None else f"{self.live}, with the new encoder; what was left to do failed: {reason}"
        )

    def end(self, outcome: Outcome) -> None:
        """The last that is told."""
        self._tell(outcome=outcome)

    @contextmanager
    def bar(self, _what: str, total: int) -> Iterator[Tell]:
        """Tells how many of `total` are done. Raises `Stopped`."""
        self._tell(total=total)

        def tell(count: int) -> None:
            self.check()
            done = min(total, self._progress.done + count)  # there are several passes
            self._progress = self._progress.model_copy(update={"done": done})
            if time.monotonic() - self._told_at >= TELL_SECONDS:
                self._tell()

        yield tell
        self._tell()

    def wait(self, seconds: float) -> None:
        """Raises `Stopped`."""
        self._stopping.wait(seconds)
        self.check()

    def wait_for_encoder(self, seconds: float) -> None:
        """Raises `Unavailable` where the writers wait as well, and `Stopped`."""
        if self.hurry is not None:
            raise Unavailable(f"the encoder doesn't answer, {self.hurry}")
        self.wait(seconds)

    def check(self) -> None:
        """Raises `Stopped` when the process ends."""
        if self._stopping.is_set():
            raise Stopped("the process ends: what was live stays so. Start it, and run the command again")

    def _tell(self, **changes: object) -> None:
        self._progress = self._progress.model_copy(update=changes)
        self._told_at = time.monotonic()
        self._desk.tell(self._request, self._progress)


class Reembedding:
    """Takes the requests of `eddyline reembed`, one after another.

    `settings` are those in force, `reload` reads them anew from where the process has them. `live` is the encoding that
    everybody uses. `options` lead to the log, where records of an earlier space may still be: they are to be read as
    `translate` gives them.
    """

    def __init__(
        self,
        desk: RequestDesk,
        settings: Settings,
        reload: Callable[[], Settings],
        store: VectorStore,
        live: LiveEncoding,
        images: ImageEncoder | None,
        options: KafkaOptions,
        metrics: Metrics,
    ) -> None:
        self._desk, self._settings, self._reload, self._store = desk, settings, reload, store
        self._live, self._images, self._options, self._metrics = live, images, options, metrics
        self._stopping, self._swapping = threading.Event(), threading.Lock()
        self._translate: Translate | None = None
        self._consumers: Consumers
        self._thread = threading.Thread(target=self._work, name="reembedding", daemon=True)

    def start(self, consumers: Consumers) -> None:
        """Take requests from now on. `consumers`: all that write here."""
        self._consumers = consumers
        self._thread.start()

    def close(self) -> None:
        """Give up what is under way, unless it just swaps; whoever was stopped for it goes on. To be called before the
        consumers are stopped."""
        with self._swapping:
            self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(LEAVING_SECONDS)
            if self._thread.is_alive():
                log.warning("left while it is still at work: the next one drops what it made", seconds=LEAVING_SECONDS)
        self._lift_left_seal()

    def translate(self, record: Record) -> Record:
        """The record, what it holds brought into the space that is live. Raises `Unavailable`."""
        return record if self._translate is None else self._translate(record)

    # -- requests -----------------------------------------------------------------------------------------------

    def _work(self) -> None:
        while not self._stopping.wait(LOOK_SECONDS):
            self._lift_left_seal()
            try:
                request = self._desk.take()
            except OSError as error:  # it must not end the thread: later requests may be sound
                log.warning("a request can't be taken", reason=str(error))
                continue
            if request is not None:
                self._handle(request)

    def _handle(self, request: Request) -> None:
        errand = Errand(self._desk, request, self._stopping)
        log.info("embedding anew", encoder=request.encoder.model, kind=request.encoder.kind, forced=request.force)
        try:
            message = self._embed(request, errand)
        except Misconfigured as error:
            outcome = Outcome(kind="misconfigured", message=errand.failing(str(error)))
        except EddylineError as error:
            outcome = Outcome(kind="failed", message=errand.failing(str(error)))
        except Exception as error:  # a bug: it must not end the thread, nor leave whoever asked waiting
            log.error("embedding anew failed", exc_info=error)
            outcome = Outcome(
                kind="failed", message=errand.failing(f"{type(error).__name__}, which the process has logged")
            )
        else:
            outcome = Outcome(kind="done", message=message)
        log.info("embedded anew", outcome=outcome.kind, said=outcome.message)
        errand.end(outcome)

    def _embed(self, request: Request, errand: Errand) -> str:
        self._check_images(request)
        settings, differing = self._with_encoder(request)
        encoder = text_encoder(settings, self._metrics)
        lasting = encoding_of(settings, encoder)
        patient = encoding_of(settings, PatientEncoder(encoder, errand.say, errand.wait_for_encoder))
        with ExitStack() as stack:
            kafka, reader = None, None
            if self._options.in_process:
                reader = LogReader(self._options)
                stack.callback(reader.close)
            else:
                kafka = connected(settings, stack)
            renewal = Renewal(
                self._store,
                settings,
                patient,
                self._images,
                errand.say,
                errand.bar,
                kafka,
                reader,
                partial(self._sealed, errand),
                partial(self._go_live, errand, request, lasting, reader),
            )
            summary = renewal.run(request.force, request.drop_old)
        if differing:
            errand.say(
                "It uses this encoder until it ends, and its next start needs the same. Where it has its settings "
                f"from, these are others: {', '.join(differing)}"
            )
        return summary

    def _check_images(self, request: Request) -> None:
        mine = self._settings.images
        if request.images_model is not None and not (mine.enabled and mine.model == request.images_model):
            running = mine.model if mine.enabled else "none"
            raise Misconfigured(
                f"images.model is {request.images_model} here, and {running} in the process that runs, which can't "
                "change that: stop it, run `eddyline reembed`, and start it with the same settings"
            )

    def _with_encoder(self, request: Request) -> tuple[Settings, list[str]]:
        """The settings in force with the encoder that was asked for, and which of it a start would have otherwise."""
        stored = self._reload().encoder
        is_same_place = (stored.kind, stored.url) == (request.encoder.kind, request.encoder.url)
        if request.needs_key and (stored.api_key is None or not is_same_place):  # a key goes where it was meant for
            raise Misconfigured(
                "the encoder needs encoder.api_key, and keys are not passed on: put it, for this url "
                f"({request.encoder.url or 'none'}), into the settings file of the process that runs, with the kind "
                "and the url, or stop that one, run `eddyline reembed`, and start it with the same settings"
            )
        keys = {"api_key": stored.api_key if request.needs_key else None, "serving_key": stored.serving_key}
        encoder = request.encoder.model_copy(update=keys)
        there = without_keys(stored)
        differing = [
            f"encoder.{name}"
            for name in type(encoder).model_fields
            if getattr(there, name) != getattr(request.encoder, name)
        ]
        return self._settings.model_copy(update={"encoder": encoder}), differing

    # -- the swap -----------------------------------------------------------------------------------------------

    @contextmanager
    def _sealed(self, errand: Errand) -> Iterator[None]:
        """The writers have stopped meanwhile, whatever comes in waits in the log; afterwards they go on."""
        errand.check()
        errand.hurry = "and the writers can't wait for it: all is as before. Run the command again"
        generations.seal(self._store, NAMES)
        try:
            self._consumers.await_seal(errand.wait)
            errand.say("the writers have stopped")
            yield
        finally:
            self._let_go_on()

    def _let_go_on(self) -> None:
        generations.unseal(self._store, NAMES)
        self._follow()

    def _lift_left_seal(self) -> None:
        """One that could not be lifted when its errand ended, as on a full disk: tried until it can."""
        with suppress(EddylineError):
            if generations.current(self._store).sealed:
                self._let_go_on()
                log.info("the writers go on")

    def _follow(self) -> None:
        with suppress(EddylineError):  # whoever can't is found again by the next look, which ends the process
            self._consumers.follow()

    def _go_live(
        self,
        errand: Errand,
        request: Request,
        encoding: Encoding,
        reader: LogReader | None,
        collections: Collections,
        translate: Translate,
    ) -> None:
        """Readers and writers have the new generation and the new encoder, at once."""
        with self._swapping:
            errand.check()
            if reader is not None:
                self._hand_over(reader, collections)
            self._store.flush()
            with self._live.replacing(encoding):
                generations.go_live(self._store, collections)
                self._translate = translate
        errand.live = f"{collections.items} and {collections.profiles} are live"
        errand.hurry = "and records of before need it: they are read as soon as it does"  # by a consumer, which retries
        errand.say(errand.live)
        self._follow()
        if request.drop_old:
            self._stopping.wait(GRACE_SECONDS)

    def _hand_over(self, reader: LogReader, collections: Collections) -> None:
        """The profilers of the new generation go on where those of the old one ended."""
        old = generations.group_of(GROUP, generations.live(self._store).profiles)
        found = reader.committed(old, TOPIC)
        positions = {TopicPartition(TOPIC, p): position for p, position in found.items() if position is not None}
        reader.commit(generations.group_of(GROUP, collections.profiles), positions)
