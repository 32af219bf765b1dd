"""Reembed: every item embedded anew from its stored text, and the profiles with them, in a new generation.

Items are copied while the old generation serves and is written; then its writers are sealed, the little that changed
meanwhile is copied again, and the profiles are rebuilt from the log as in a replay. Profiles that the log no longer
covers, or all where there is none, are approximated from their newest items.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from eddyline.adapters.encoders import TextEncoder, embed_items
from eddyline.adapters.kafka import LogReader, Record
from eddyline.adapters.vectors import (
    ITEMS,
    PROFILES,
    Collections,
    Dense,
    Filter,
    Match,
    Point,
    Sparse,
    VectorStore,
    generations,
)
from eddyline.errors import InvalidEvent
from eddyline.maintenance.generations.rebuild import (
    ProfileRebuild,
    RebuildCounts,
    ReportProgress,
    TranslateRecord,
    carry_over,
    ignore_progress,
)
from eddyline.maintenance.generations.replay import (
    Handover,
    ReportLine,
    catch_up,
    discard_unfinished_generations,
    finish,
)
from eddyline.model.decay import Accumulator, Vector
from eddyline.model.events import Onboarded, Transfer, User, parse_event
from eddyline.model.ids import Person, item_point_id
from eddyline.model.language import Detect, detect_no_language, item_language
from eddyline.model.profile import NOTHING, VECTORS, Profile, TimeConstants
from eddyline.model.text import DEFAULT, Template, onboarding_text, parts_hash
from eddyline.profiler import GROUP
from eddyline.settings import ProfileSettings

PAGE = 256
PASSES = 5
"""Most passes over the items before their writers are sealed."""
QUIET = 100
"""Changed items in a pass at which the writers are sealed."""
WRITERS = ("embedder", "imager", "affinity")
USERS = "users"


@dataclass(slots=True)
class CopyCounts:
    """What a pass over the items did."""

    items: int = 0
    embedded: int = 0
    deleted: int = 0

    @property
    def changed(self) -> int:
        """How many differed from the copy."""
        return self.items + self.deleted


@dataclass(frozen=True, slots=True)
class ReembedResult:
    """What was done. `approximated`: people whose events the log doesn't hold any more."""

    collections: Collections
    items: int
    people: int
    approximated: int
    tally: RebuildCounts
    seconds: float


class ItemCopier:
    """Keeps `target` a copy of `source` in the encoder's space: everything but the content vectors is taken over.

    Images are where they are in `image_space`; the others, and all without one, are left out, to be fetched again.
    """

    def __init__(
        self,
        store: VectorStore,
        encoder: TextEncoder,
        source: str,
        target: str,
        template: Template = DEFAULT,
        image_space: str | None = None,
        detect: Detect = detect_no_language,
    ) -> None:
        self._store, self._encoder, self._source, self._target = store, encoder, source, target
        self._template, self._detect = template, detect
        same = () if image_space is None else (Match("image.space", (image_space,)),)
        has_images = bool(same) and store.count(source, Filter(must=same)) > 0
        self._image_space = image_space if has_images else None
        self._images = ("image",) if has_images else ()

    def run(self, tell: ReportProgress = ignore_progress) -> CopyCounts:
        """One pass: copy what differs, delete what is gone."""
        copied = CopyCounts()
        self._copy(copied, tell)
        self._delete(copied)
        return copied

    def _copy(self, copied: CopyCounts, tell: ReportProgress) -> None:
        after: str | None = None
        while True:
            page, after = self._store.scroll(self._source, limit=PAGE, after=after, vectors=("affinity", *self._images))
            self._copy_page(page, copied)
            tell(len(page))
            if after is None:
                return

    def _copy_page(self, page: Sequence[Point], copied: CopyCounts) -> None:
        kept = ("content", "affinity", *self._images)
        there = self._store.retrieve(self._target, [point.id for point in page], vectors=kept)
        wanted = {point.id: self._payload(point, there.get(point.id)) for point in page}
        changed = [point for point in page if not _is_copy(there.get(point.id), point, wanted[point.id])]
        texts = {
            point.id: self._template.parts(point.payload["meta"])
            for point in changed
            if "meta" in point.payload and not _same_text(there.get(point.id), wanted[point.id])
        }
        rows = dict(zip(texts, embed_items(self._encoder, list(texts.values())), strict=True))
        points = [
            Point(
                point.id,
                _vectors(point, there.get(point.id), rows.get(point.id), "image" in wanted[point.id]),
                wanted[point.id],
            )
            for point in changed
        ]
        if points:
            self._store.upsert(self._target, points)
        copied.items += len(points)
        copied.embedded += len(texts)

    def _payload(self, point: Point, there: Point | None) -> Mapping[str, Any]:
        """As it would be, had its text been embedded by this encoder."""
        payload = dict(point.payload)
        if self._image_space is None or payload.get("image", {}).get("space") != self._image_space:
            payload.pop("image", None)
        if "meta" not in payload:
            return payload  # price and stock alone, before the item itself
        payload["space"] = self._encoder.space
        embedded = parts_hash(self._template.parts(payload["meta"]), self._encoder.space)
        payload["source"] = {**payload.get("source", {}), "hash": embedded, "embeddings": 1}
        payload["language"] = self._language(payload["meta"], there)
        return payload

    def _language(self, meta: Mapping[str, Any], there: Point | None) -> Mapping[str, Any]:
        """Detected once, however many passes there are."""
        known: Mapping[str, Any] = {} if there is None else there.payload
        if "language" in known and known.get("meta") == meta:
            return dict(known["language"])
        return item_language(meta, self._detect)

    def _delete(self, copied: CopyCounts) -> None:
        after: str | None = None
        while True:
            page, after = self._store.scroll(self._target, limit=PAGE, after=after, payload=())
            there = self._store.retrieve(self._source, [point.id for point in page], payload=())
            gone = [point.id for point in page if point.id not in there]
            self._store.delete(self._target, gone)
            copied.deleted += len(gone)
            if after is None:
                return


def _is_copy(there: Point | None, point: Point, wanted: Mapping[str, Any]) -> bool:
    if there is None or dict(there.payload) != dict(wanted):
        return False
    mine, theirs = there.vectors.get("affinity"), point.vectors.get("affinity")
    if not isinstance(mine, Sparse) or not isinstance(theirs, Sparse):
        return mine is theirs
    return bool(np.array_equal(mine.indices, theirs.indices) and np.array_equal(mine.values, theirs.values))


def _same_text(there: Point | None, wanted: Mapping[str, Any]) -> bool:
    return there is not None and there.payload.get("source", {}).get("hash") == wanted["source"]["hash"]


def _vectors(point: Point, there: Point | None, row: Dense | None, with_image: bool) -> dict[str, Dense | Sparse]:
    vectors: dict[str, Dense | Sparse] = {
        name: vector
        for name, vector in point.vectors.items()
        if isinstance(vector, Sparse) or (name == "image" and with_image)
    }
    known = None if there is None else there.vectors.get("content")
    if row is not None:
        vectors["content"] = row
    elif known is not None:
        vectors["content"] = known
    return vectors


class OnboardingAnswers:
    """What people answered when they joined, in the encoder's space: by the record of `users` that says it."""

    def __init__(self, encoder: TextEncoder) -> None:
        self._encoder = encoder
        self._texts: dict[tuple[str, int, int], str] = {}
        self._latest: dict[str, tuple[str, int, int]] = {}

    def read(self, log: LogReader) -> None:
        """All that `users` holds. The newest record of a person is what counts."""
        for partition, (low, high) in log.bounds(USERS).items():
            for record in log.read(USERS, partition, low, high):
                self._note(record)

    def _note(self, record: Record) -> None:
        key, place = (record.key or b"").decode(errors="replace"), (record.log, record.partition, record.offset)
        earlier = self._latest.pop(key, None)
        if earlier is not None:
            self._texts.pop(earlier, None)
        if record.value is None:
            return
        try:
            said = parse_event(User, record.value)
        except InvalidEvent:
            return
        self._latest[key] = place
        self._texts[place] = onboarding_text(said.interests, said.goals, said.experience)

    def vector(self, origin: tuple[str, int, int]) -> Vector | None:
        """The answers of that record, embedded; None where it is gone or says nothing."""
        text = self._texts.get(origin)
        return None if not text else np.asarray(self._encoder.encode([text])[0], dtype=np.float64)

    def translate(self, record: Record) -> Record:
        """An `onboarded` record of another space, as the embedder would write it now."""
        if record.value is None or b'"onboarded"' not in record.value:
            return record
        try:
            said = parse_event(Onboarded, record.value)
        except InvalidEvent:
            return record
        if said.space is None or said.space == self._encoder.space:
            return record
        origin = (said.origin.log, said.origin.partition, said.origin.offset)
        vector = self.vector(origin)
        row = None if vector is None else [float(x) for x in vector]
        space = None if row is None else self._encoder.space
        return replace(record, value=said.model_copy(update={"vector": row, "space": space}).to_bytes())


class ProfileApproximation:
    """Brings a profile into another space by what it still knows: its newest items and when they came.

    Each sum becomes the decayed sum of those items' vectors, at the weight that the old sum had; what they weighed one
    by one, and what was negative, is lost.
    """

    def __init__(
        self, store: VectorStore, items: str, settings: ProfileSettings, space: str, answers: OnboardingAnswers
    ) -> None:
        self._store, self._items, self._space, self._answers = store, items, space, answers
        self._settings, self._taus = settings, TimeConstants.of(settings)
        self.lost = 0
        """People whose answers were in their profile, and are in no log that could be embedded anew."""

    def convert(self, profiles: Sequence[Profile]) -> None:
        """In place."""
        wanted = {item_point_id(item_id) for profile in profiles for item_id in profile.recents.times}
        stored = self._store.retrieve(self._items, sorted(wanted), payload=(), vectors=("content",))
        vectors = {
            point_id: np.asarray(point.vectors["content"], dtype=np.float64)
            for point_id, point in stored.items()
            if "content" in point.vectors
        }
        for profile in profiles:
            self._convert(profile, vectors)

    def translate(self, record: Record) -> Record:
        """A transfer of another space, whose origin the log no longer holds, with the snapshot brought into ours."""
        if record.value is None or b'"transfer"' not in record.value:
            return record
        try:
            said = parse_event(Transfer, record.value)
            person = Person("a", said.anonymous_id)
            snapshot = Profile.unpack(person, said.payload, said.vectors, self._settings)
        except (InvalidEvent, KeyError, TypeError, ValueError):
            return record
        if snapshot.space in (None, self._space):
            return record
        self.convert([snapshot])
        payload, vectors = snapshot.packed(record.partition)
        return replace(record, value=said.model_copy(update={"payload": payload, "vectors": vectors}).to_bytes())

    def _convert(self, profile: Profile, vectors: Mapping[str, Vector]) -> None:
        for name in VECTORS:
            old: Accumulator = getattr(profile, name)
            setattr(profile, name, self._sum(profile, old, getattr(self._taus, name), vectors))
        if profile.onboarding is not None:
            profile.onboarding = None if profile.onboarded is None else self._answers.vector(profile.onboarded)
            self.lost += profile.onboarding is None
        held = profile.onboarding is not None or any(getattr(profile, name).sum is not None for name in VECTORS)
        profile.space = self._space if held else None

    @staticmethod
    def _sum(profile: Profile, old: Accumulator, tau: float, vectors: Mapping[str, Vector]) -> Accumulator:
        terms = [
            (math.exp((at - old.time) / tau), vectors[item_point_id(item_id)])
            for item_id, at in profile.recents.times.items()
            if item_point_id(item_id) in vectors and at <= old.time
        ]
        weight = sum(share for share, _ in terms)
        if old.sum is None or weight <= 0:
            return NOTHING
        total = np.sum([share * vector for share, vector in terms], axis=0)
        return Accumulator(total * (old.weight / weight), old.weight, old.time)


def reembed(
    store: VectorStore,
    encoder: TextEncoder,
    settings: ProfileSettings,
    create: Callable[[Collections], None],
    say: ReportLine,
    *,
    reader: LogReader | None = None,
    make: Callable[[Collections, TranslateRecord], ProfileRebuild] | None = None,
    log_identity: str = "",
    tell: ReportProgress = ignore_progress,
    template: Template = DEFAULT,
    image_space: str | None = None,
    detect: Detect = detect_no_language,
) -> ReembedResult:
    """Re-embed everything. `create` makes the collections; without a `reader` and `make` there is no log.

    Raises `Misconfigured` when the writers don't stop, and `Unavailable`; then the old generation goes on, and what was
    made is dropped.
    """
    started = time.monotonic()
    live = generations.live(store)
    discard_unfinished_generations(store, live, say)
    target = Collections(generations.next_free(store, ITEMS), generations.next_free(store, PROFILES))
    answers = OnboardingAnswers(encoder)
    approximation = ProfileApproximation(store, target.items, settings, encoder.space, answers)

    def translate(record: Record) -> Record:
        return approximation.translate(answers.translate(record))

    try:
        create(target)
        copier = ItemCopier(store, encoder, live.items, target.items, template, image_space, detect)
        _copy_until_quiet(copier, say, tell)
        if reader is None or make is None:
            epoch = int(time.time() * 1000)
            carried = carry_over(
                store, live.profiles, target.profiles, settings, approximation.convert, _everyone, epoch
            )
            tally = RebuildCounts(carried=carried)
            store.flush()
            generations.go_live(store, target)
        else:
            rebuilding = make(target, translate)
            handover = Handover(reader, store, log_identity, say)
            tally = _with_log(reader, rebuilding, live, copier, answers, approximation, handover, log_identity, say)
    except BaseException:
        if generations.live(store) == live:
            store.drop(target.profiles)
            store.drop(target.items)
        raise
    if approximation.lost:
        say(
            f"the answers of {approximation.lost:,} people are lost: the log that held them is gone; send them again "
            "(PUT /v1/users)"
        )
    return ReembedResult(
        target,
        store.count(target.items),
        store.count(target.profiles),
        tally.carried,
        tally,
        time.monotonic() - started,
    )


def _everyone(_profile: Profile) -> bool:
    return True


def _copy_until_quiet(copier: ItemCopier, say: ReportLine, tell: ReportProgress) -> None:
    for _ in range(PASSES):
        copied = copier.run(tell)
        say(f"{copied.embedded:,} texts embedded; {copied.items:,} items copied")
        if copied.changed <= QUIET:
            return


def _with_log(
    reader: LogReader,
    rebuilding: ProfileRebuild,
    live: Collections,
    copier: ItemCopier,
    answers: OnboardingAnswers,
    approximation: ProfileApproximation,
    handover: Handover,
    log_identity: str,
    say: ReportLine,
) -> RebuildCounts:
    group = generations.group_of(GROUP, live.profiles)
    answers.read(reader)
    rebuilding.carry_over(live.profiles, log_identity, approximation.convert)
    say(f"{rebuilding.tally.carried:,} profiles are older than the log: approximated from their newest items")
    catch_up(reader, rebuilding, group, say)
    with handover.sealed([ITEMS, PROFILES], [*WRITERS, group]):
        last = copier.run()
        say(f"the writers have stopped; {last.changed:,} items had changed since")
        answers.read(reader)
        finish(reader, rebuilding, group, say)
        handover.go_live(rebuilding.collections, rebuilding.positions, rebuilding.epoch)
    return rebuilding.tally
