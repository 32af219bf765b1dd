"""What a profile should be, worked out from the log in the plainest way: slow, obvious, and no code of the profiler's.

Everything is attributed from the record that its author sent. A copy that was passed on to another partition only says
*when* it arrived there; so one that was lost, or folded twice, shows as a difference. Pure.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from eddyline.model.distance import Distance
from eddyline.model.ids import Person
from eddyline.model.profile import DAY, TWINS
from eddyline.offline.audit.ledger import (
    Answered,
    Did,
    Entry,
    Forgotten,
    Identified,
    Ledger,
    Origin,
    Place,
    Said,
    Seen,
    Transferred,
    Unreadable,
)
from eddyline.settings import Profile as ProfileSettings

TRAVELS_WHOLE_BYTES = 400_000
"""A larger transfer may have been cut: one of more than 900 kB loses half of its sets at a time."""
Vectors: TypeAlias = Mapping[str, NDArray[np.floating]]
"""Item id → content vector."""

SWEPT, CUT, ERASED_BETWEEN = (
    "a stub of theirs may have been swept while it was still of use",
    "the profile of an anonymous id of theirs was too large to travel whole",
    "they did something anonymously before they were erased, and were identified after it",
)
"""Why someone's state can't be told from the log alone."""


@dataclass(frozen=True, slots=True)
class Deed:
    """An event that counts. `arrived`: when its record reached the one who folds it; `place`: of that record, None
    where it never got there."""

    did: Did
    arrived: float
    place: Place | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What an anonymous id was when it was identified, at `time`."""

    anonymous: Person
    deeds: tuple[Deed, ...]
    seen: tuple[Seen, ...]
    marks: tuple[int, ...]
    time: float
    doubts: frozenset[str]


Sent: TypeAlias = Said | Snapshot


@dataclass(frozen=True, slots=True)
class Passed:
    """What someone is due, because of the record at `place` (None: a record that was itself lost on its way)."""

    to: Person
    place: Place | None
    arrived: float
    sent: Sent


@dataclass(slots=True)
class Life:
    """A person's state as of some offset. `marks`: of the newest event ids; `last_use`: of a stub."""

    person: Person
    marks: deque[int]
    deeds: list[Deed] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    erased_at: float | None = None
    onboarded: tuple[str, int, int] | None = None
    told: bool = False
    forward: Person | None = None
    twins: list[str] = field(default_factory=list)
    identified: list[tuple[float, str]] = field(default_factory=list)
    """When anonymous ids of theirs were identified, and the ids' keys."""
    last_use: float = 0.0
    entries: int = 0
    """Records under their own key."""
    passed: list[Passed] = field(default_factory=list)
    """What others are due."""
    history: list[Deed] = field(default_factory=list)
    """All deeds that ever counted here, and the marks of `known` events."""
    known: set[int] = field(default_factory=set)
    again: dict[int, float] = field(default_factory=dict)
    """When the id of an event came last, of those that came again: by its mark."""
    repeated: list[Deed] = field(default_factory=list)
    """Were one of these given up, and so its id forgotten, then an event that came later would count, or not."""
    orphans: list[Person] = field(default_factory=list)
    """Anonymous ids whose own erasure isn't in the log, though it must be."""
    homes: set[int] = field(default_factory=set)
    """Partitions where something that is in here may lie."""
    doubts: set[str] = field(default_factory=set)
    """Why what is stored may rightly differ."""

    @property
    def is_blank(self) -> bool:
        """Whether nothing of an erased person is left."""
        return self.erased_at is not None and not (self.deeds or self.told or self.twins or self.seen)

    @property
    def is_stub(self) -> bool:
        """Whether the profile is only kept to forward, to stay forgotten, or for the lists they were shown."""
        if self.forward is not None or self.is_blank:
            return True
        only_seen = bool(self.seen) and not (self.deeds or self.told or self.twins)
        return only_seen and (self.erased_at is not None or self.onboarded is None)


class Reference:
    """Tells anyone's state from the ledger.

    `lows`: the first offset of each partition that the log still has; `handled`: the next one that the profilers have
    yet to handle: what is below is durable, and whatever was to be passed on because of it is in the log.
    """

    def __init__(
        self, ledger: Ledger, settings: ProfileSettings, lows: Mapping[int, int], handled: Mapping[int, int]
    ) -> None:
        self._ledger, self._settings = ledger, settings
        self._lows, self._handled = lows, handled

    def life(self, person: Person, until: int | None = None) -> Life:
        """Their state as of the offset `until` of their own partition (not itself folded); None: of all there is."""
        home = self._ledger.home(person)
        others = [self.life(anonymous) for anonymous in self._ledger.anonymous_ids(person)]
        life = Life(person, deque(maxlen=self._settings.event_ids), forward=self._known_before(person), homes={home})
        for other in others:
            life.repeated += other.repeated
            life.again |= other.again
        due = [passed for other in others for passed in other.passed if passed.to == person]
        for arrival, sent in self._sequence(person, home, due):
            if until is None or arrival.place is None or arrival.place[1] < until:
                self._live(life, arrival, sent)
        return life

    # -- what comes to someone, in which order -------------------------------------------------------------------

    def _sequence(self, person: Person, home: int, others: Iterable[Passed]) -> list[tuple[_Arrival, Sent | None]]:
        """Their records in the order of their log, each with what it says (None: nothing); what was lost comes last.

        `others`: what they are due because of their anonymous ids; what lies on a wrong partition is due to them, too.
        """
        entries = self._ledger.entries(person)
        strays = (
            Passed(person, entry.place, entry.arrived, _settled(entry.said))
            for entry in entries
            if entry.place[0] != home
        )
        due: dict[object, Passed] = {passed.place or object(): passed for passed in (*strays, *others)}
        arrivals: list[tuple[_Arrival, Sent | None]] = []
        highest: dict[int, int] = {}
        for entry in entries:
            if entry.place[0] != home:
                continue
            arrival = _Arrival(entry.place, entry.arrived)
            if entry.origin is None:
                arrivals.append((arrival, None if isinstance(entry.said, Transferred) else entry.said))
            elif self._is_next(entry.origin, highest):
                arrivals.append((arrival, self._sent(entry, due)))
            else:
                arrivals.append((arrival, None))
        lost = [passed for passed in due.values() if self._is_handled(passed.place)]
        return arrivals + [(_Arrival(None, passed.arrived), passed.sent) for passed in lost]

    @staticmethod
    def _is_next(origin: Origin, highest: dict[int, int]) -> bool:
        """Of what was passed on, each origin counts once, and none through a gap: it comes again (go-back-N)."""
        if origin.place is None:
            return True
        partition, offset = origin.place
        top = highest.get(partition, -1)
        if offset <= top or (origin.after is not None and origin.after > top):
            return False
        highest[partition] = offset
        return True

    def _sent(self, copy: Entry, due: dict[object, Passed]) -> Sent | None:
        """What a copy stands for: what its origin says; what it says itself where the log has lost the origin."""
        assert copy.origin is not None
        passed = due.pop(copy.origin.place, None)
        if isinstance(copy.said, Unreadable):
            return None
        if passed is not None:
            return _as_travelled(passed.sent, copy.said)
        if copy.origin.place is not None and copy.origin.place[1] >= self._lows.get(copy.origin.place[0], 0):
            return None  # nobody was to send this
        if isinstance(copy.said, Transferred):
            return Snapshot(copy.said.anonymous, (), (), (), copy.arrived, frozenset())
        return copy.said

    def _is_handled(self, place: Place | None) -> bool:
        return place is None or place[1] < self._handled.get(place[0], 0)

    def _known_before(self, person: Person) -> Person | None:
        """Whom an anonymous id forwards to as the log begins: to whom it was handed over last before that."""
        handed = self._ledger.handed_over(person)
        before = [(place[1], user) for user, place in handed if place[1] < self._lows.get(place[0], 0)]
        return max(before, key=lambda one: one[0])[1] if before else None

    # -- one thing after the other --------------------------------------------------------------------------------

    def _live(self, life: Life, arrival: _Arrival, sent: Sent | None) -> None:
        life.entries += arrival.place is not None
        if life.is_stub and arrival.arrived - life.last_use > self._settings.stub_days * DAY and life.last_use:
            life.doubts.add(SWEPT)
        if isinstance(sent, Did):
            self._do(life, arrival, sent)
        elif isinstance(sent, Seen):
            self._see(life, arrival, sent)
        elif isinstance(sent, Identified):
            self._identify(life, arrival, sent)
        elif isinstance(sent, Snapshot):
            self._take_over(life, sent)
        elif isinstance(sent, Answered):
            if not _applied(life, sent.origin):
                life.onboarded, life.told = sent.origin, sent.told
        elif isinstance(sent, Forgotten):
            self._forget(life, sent)

    @staticmethod
    def _is_repeat(life: Life, mark: int, arrived: float) -> bool:
        if mark in life.marks:
            life.again[mark] = max(arrived, life.again.get(mark, arrived))
            life.repeated += [deed for deed in life.history if deed.did.mark == mark]
            return True
        if mark in life.known:  # beyond the newest ones; but not, if enough of those were forgotten
            life.repeated += life.history
        life.marks.append(mark)
        life.known.add(mark)
        return False

    def _do(self, life: Life, arrival: _Arrival, did: Did) -> None:
        if self._is_repeat(life, did.mark, arrival.arrived) or _is_over(life, did.time):
            return
        if life.forward is None:
            life.deeds.append(Deed(did, arrival.arrived, arrival.place))
            life.history.append(life.deeds[-1])
            return
        life.last_use = arrival.arrived
        life.passed.append(Passed(life.forward, arrival.place, arrival.arrived, _settled(did)))

    @staticmethod
    def _see(life: Life, arrival: _Arrival, seen: Seen) -> None:
        if life.forward is not None:
            life.passed.append(Passed(life.forward, arrival.place, arrival.arrived, _settled(seen)))
        elif not _is_over(life, seen.time):
            life.seen.append(seen)
        life.last_use = arrival.arrived

    def _identify(self, life: Life, arrival: _Arrival, said: Identified) -> None:
        if _is_over(life, said.time) or self._is_repeat(life, said.mark, arrival.arrived):
            return
        if life.forward != said.user:
            time = round(said.time, 6)
            marks, doubts = tuple(life.marks), frozenset(life.doubts)
            was = Snapshot(life.person, tuple(life.deeds), tuple(life.seen), marks, time, doubts)
            life.passed.append(Passed(said.user, arrival.place, arrival.arrived, was))
            life.deeds, life.seen, life.twins, life.identified, life.told = [], [], [], [], False
            life.forward = said.user
        life.last_use = arrival.arrived

    def _take_over(self, life: Life, was: Snapshot) -> None:
        life.homes.add(self._ledger.home(was.anonymous))
        if _is_over(life, was.time):
            self._expect_erasure(life, was.anonymous)
            return
        if any(_is_over(life, deed.did.time) for deed in was.deeds):
            life.doubts.add(ERASED_BETWEEN)  # what still waited for its item was dropped then, the rest was not
        life.deeds += was.deeds
        life.seen += was.seen
        life.identified.append((was.time, was.anonymous.key))
        life.history += was.deeds
        life.known.update(was.marks)
        life.doubts |= was.doubts
        life.marks = deque((*was.marks, *life.marks), maxlen=life.marks.maxlen)
        name = was.anonymous.id
        life.twins = [*(twin for twin in life.twins if twin != name), name][-TWINS:]

    def _forget(self, life: Life, said: Forgotten) -> None:
        if said.twin_of is not None and life.forward != said.twin_of:
            return  # someone else's by now
        if _applied(life, said.origin):
            return
        twins, life.twins = life.twins, []
        life.deeds, life.seen, life.identified, life.told, life.forward = [], [], [], False, None
        life.marks.clear()
        life.known.clear()
        life.onboarded, life.last_use = said.origin, said.time
        life.erased_at = max(said.time, life.erased_at or 0.0)
        for twin in twins:
            self._expect_erasure(life, Person("a", twin))

    def _expect_erasure(self, life: Life, anonymous: Person) -> None:
        """The anonymous ids of someone who is erased are told so, each by a record of its own."""
        if life.erased_at is None:
            return
        at = round(life.erased_at, 6)
        told = any(
            isinstance(entry.said, Forgotten) and (entry.said.twin_of, round(entry.said.time, 6)) == (life.person, at)
            for entry in self._ledger.entries(anonymous)
        )
        if not told:
            life.orphans.append(anonymous)


@dataclass(frozen=True, slots=True)
class _Arrival:
    """Where and when something reached the owner of a person's partition; without a place: it should have."""

    place: Place | None
    arrived: float


def decayed(
    deeds: Iterable[Deed], vectors: Vectors, tau: float, now: float, distance: Distance = Distance.COSINE
) -> tuple[NDArray[np.float64] | None, float]:
    """(S, W) at the time `now`: the sum of w·x·e^(-(now - t)/tau) over the deeds, and of |w|·e^(-(now - t)/tau).

    S is None without a deed that weighs; by Euclid, dislikes don't. `tau` in seconds.
    """
    total: NDArray[np.float64] | None = None
    weight = 0.0
    for deed in deeds:
        if deed.did.weight == 0 or (deed.did.weight < 0 and distance is Distance.EUCLID):
            continue
        faded = math.exp(-(now - deed.did.time) / tau)
        term = deed.did.weight * faded * vectors[deed.did.item_id].astype(np.float64)
        total = term if total is None else total + term
        weight += abs(deed.did.weight) * faded
    return total, weight


def newest(deeds: Iterable[Deed], size: int, belongs: Callable[[Did], bool]) -> dict[str, float]:
    """The newest `size` distinct items of the deeds that belong, each with its latest time."""
    latest: dict[str, float] = {}
    for deed in deeds:
        if belongs(deed.did):
            latest[deed.did.item_id] = max(deed.did.time, latest.get(deed.did.item_id, deed.did.time))
    first = sorted(latest, key=lambda item: (latest[item], item), reverse=True)[:size]
    return {item: latest[item] for item in first}


def shown(seen: Iterable[Seen], size: int) -> dict[str, tuple[int, ...]]:
    """Of each item the minutes (since 1970) in which it was in a list, of the newest `size` pairs of the two."""
    pairs = sorted({(int(each.time // 60), item_id) for each in seen for item_id in each.items})[-size:]
    minutes: dict[str, tuple[int, ...]] = {}
    for minute, item_id in pairs:
        minutes[item_id] = (*minutes.get(item_id, ()), minute)
    return minutes


def first_heard(deeds: Iterable[Deed], life: Life) -> tuple[float, str] | None:
    """When anything was heard of someone first, and under which key: of the deeds, what they were shown, and their
    anonymous ids' becoming theirs."""
    done = ((deed.did.time, deed.did.heard) for deed in deeds)
    shown = ((seen.time, seen.heard) for seen in life.seen)
    return min((*done, *shown, *life.identified), default=None)


SETS: Mapping[str, Callable[[Did], bool]] = {
    "recents": lambda did: did.weight > 0,
    "viewed": lambda did: did.type != "impression",
    "purchased": lambda did: did.type == "purchase",
    "liked": lambda did: did.weight > 0 and did.type not in ("view", "click"),
    "disliked": lambda did: did.weight < 0 and did.type in ("dislike", "hide", "rating"),
}
"""Which deeds belong to which set of newest items."""


def _as_travelled(sent: Sent, copy: Said) -> Sent:
    if isinstance(sent, Snapshot) and isinstance(copy, Transferred) and copy.size > TRAVELS_WHOLE_BYTES:
        return replace(sent, doubts=sent.doubts | {CUT})
    return sent


def _settled(said: Said) -> Said:
    """As it is passed on: its time to the microsecond, as RFC 3339 has it."""
    if isinstance(said, Did | Seen | Identified):
        return replace(said, time=round(said.time, 6))
    return said


def _is_over(life: Life, time: float) -> bool:
    """Whether it happened before they were erased."""
    return life.erased_at is not None and time <= life.erased_at


def _applied(life: Life, origin: tuple[str, int, int]) -> bool:
    """Whether this record of `users`, or a later one of the same partition, was applied."""
    last = life.onboarded
    return last is not None and last[:2] == origin[:2] and origin[2] <= last[2]
