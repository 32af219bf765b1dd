"""Generations of the three collections: `items-1`, `items-2`, …, `profiles-1`, … and `rows-1`.

The logical names, `items`, `profiles` and `rows`, are aliases of the live generation, for those who read. A writer
writes to the concrete collection that was live when it began and stops when that is sealed or replaced: so a late write
of its never lands in the generation after. Rows are of no model's space, so they outlive the items' generations.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from eddyline.adapters.vectors.contract import CollectionSpec, VectorStore
from eddyline.adapters.vectors.schema import ITEMS, PROFILES, ROWS
from eddyline.errors import EddylineError, Misconfigured

NAMES = (ITEMS, PROFILES, ROWS)
"""The logical names."""
_CONCRETE = re.compile(r"(.+)-([1-9][0-9]*)")


@dataclass(frozen=True, slots=True)
class Collections:
    """The concrete collections that a writer writes; by default the aliases, for a store of one generation."""

    items: str = ITEMS
    profiles: str = PROFILES
    rows: str = ROWS

    def named(self, name: str) -> str:
        """Return the collection of a logical name."""
        return {ITEMS: self.items, PROFILES: self.profiles, ROWS: self.rows}[name]


@dataclass(frozen=True, slots=True)
class Generations:
    """What is live, and which collections are sealed: their writers stop, since another is about to go live.

    `sealed`: the generation that each of them waits for.
    """

    live: Collections
    sealed: Mapping[str, int] = field(default_factory=dict)


def concrete(name: str, number: int) -> str:
    """Name a generation's collection: `items-2` of `items` and 2."""
    return f"{name}-{number}"


def generation_of(collection: str) -> int:
    """Return the generation of a collection: 2 of `items-2`. Raises `EddylineError` for a name without one."""
    match = _CONCRETE.fullmatch(collection)
    if match is None:
        raise EddylineError(f"collection `{collection}` is of no generation: its name doesn't end in -1, -2, …")
    return int(match[2])


def group_of(service: str, collection: str) -> str:
    """Name the consumer group of a service that has one for each generation: `profiler`, then `profiler-2`, …."""
    number = generation_of(collection)
    return service if number == 1 else f"{service}-{number}"


def existing(store: VectorStore, name: str) -> list[str]:
    """Return the collections of a logical name, oldest first, live or not."""
    found = (_CONCRETE.fullmatch(collection) for collection in store.collections())
    return sorted((match[0] for match in found if match is not None and match[1] == name), key=generation_of)


def next_free(store: VectorStore, name: str) -> str:
    """Name the collection after the newest.

    Whoever drops the newest deletes the offsets of its group as well, since its number is used again.
    """
    return concrete(name, max(map(generation_of, existing(store, name)), default=0) + 1)


def current(store: VectorStore) -> Generations:
    """Read what is live and what is sealed, at once. Raises `Misconfigured` where nothing is live."""
    aliases = store.aliases()
    missing = [name for name in NAMES if name not in aliases]
    if missing:
        raise Misconfigured(f"the vector store has no live {' and '.join(missing)}: run `eddyline init`")
    sealed = {name: aliases[_seal(name)] for name in NAMES if _seal(name) in aliases}
    return Generations(
        Collections(aliases[ITEMS], aliases[PROFILES], aliases[ROWS]),
        {collection: _successor(store, name, collection) for name, collection in sealed.items()},
    )


def live(store: VectorStore) -> Collections:
    """Return the live collections. Raises `Misconfigured` where there are none."""
    return current(store).live


def establish(store: VectorStore, specs: Iterable[CollectionSpec]) -> None:
    """Create the first generation of each (a spec has the logical name), or add what the live one lacks.

    Several processes may do so at once, and one that was cut short is completed. Raises `Misconfigured` where a spec
    and what is stored disagree, or it can't be known which generation is live.
    """
    aliases = store.aliases()
    for spec in specs:
        collection = aliases.get(spec.name) or _first(store, spec.name)
        store.ensure(replace(spec, name=collection))
        if spec.name not in aliases:
            store.set_aliases({spec.name: collection})


def seal(store: VectorStore, names: Iterable[str]) -> None:
    """Have the writers of these (logical names) stop, within seconds; their groups are empty when they have."""
    now = live(store)
    store.set_aliases({_seal(name): now.named(name) for name in names})


def unseal(store: VectorStore, names: Iterable[str]) -> None:
    """Have the writers of these (logical names) go on. Nothing is written where none is sealed."""
    seals = {_seal(name): None for name in names if _seal(name) in store.aliases()}
    if seals:
        store.set_aliases(seals)


def go_live(store: VectorStore, collections: Collections) -> None:
    """Make these live, all at once: readers read them, writers write to them, and nothing is sealed any more."""
    aliases = {name: collections.named(name) for name in NAMES}
    store.set_aliases({**aliases, **{_seal(name): None for name in aliases}})


def _seal(name: str) -> str:
    return f"{name}.sealed"


def _successor(store: VectorStore, name: str, collection: str) -> int:
    """Return the newest generation, or the next one where that isn't made yet."""
    return max(generation_of(collection) + 1, *map(generation_of, existing(store, name)))


def _first(store: VectorStore, name: str) -> str:
    generations = existing(store, name)
    first = concrete(name, 1)
    if generations not in ([], [first]):
        raise Misconfigured(
            f"none of the collections {', '.join(generations)} is live: point the alias `{name}` to one of them"
        )
    return first
