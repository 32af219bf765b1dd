"""The catalogue in memory answers as the vector store would: exactly, filtered first, whatever was written between."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eddyline.evaluation.inverted_index import InvertedIndex
from eddyline.evaluation.item_index import IndexedCandidates, IndexSnapshot, ItemIndex, SearchResult, top
from eddyline.model.decay import add_to_decayed_count, decayed_count_at
from eddyline.model.events import Content
from eddyline.model.trends import trend_tau

NOW = 1_500_000_000.0
NOBODY = np.zeros(0, dtype=np.int64)


def catalogue(*items: Content) -> ItemIndex:
    return ItemIndex(items, np.eye(len(items), 3, dtype=np.float32))


def places(*values: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.asarray(values, dtype=np.int64)


rows = st.dictionaries(st.integers(0, 12), st.floats(0.1, 10), max_size=6)


@given(st.lists(st.tuples(st.integers(0, 4), rows, st.booleans()), max_size=25), rows)
def test_sparse_rows_are_multiplied_as_a_dense_matrix_would_be(
    writes: list[tuple[int, dict[int, float], bool]], query: dict[int, float]
) -> None:
    """Rows are replaced whole, entries come and go and come back, and queries fall in between."""
    index, dense = InvertedIndex(5, range(13)), np.zeros((5, 13))
    asked = np.zeros(13)
    asked[list(query)] = list(query.values())

    def sparse(row: dict[int, float]) -> tuple[np.ndarray, np.ndarray]:
        return np.asarray(list(row), dtype=np.uint32), np.asarray(list(row.values()), dtype=np.float32)

    for item, row, then_query in [*writes, (0, {}, True)]:
        index.write(item, *sparse(row))
        dense[item] = 0
        dense[item, list(row)] = list(row.values())
        if then_query:
            assert index.scores(*sparse(query)) == pytest.approx(dense @ asked, rel=1e-5)


def test_the_top_is_filtered_before_it_is_cut_and_equals_come_by_place() -> None:
    scores = np.asarray([0.5, 0.9, 0.5, -np.inf, 0.1, 0.5], dtype=np.float32)
    assert top(scores, 3, NOBODY).places.tolist() == [1, 0, 2]
    assert top(scores, 3, places(1, 0)).places.tolist() == [2, 5, 4]
    assert top(scores, 10, places(1)).places.tolist() == [0, 2, 5, 4]
    assert top(scores, 5, NOBODY).places.tolist() == [1, 0, 2, 5, 4]
    assert top(scores, 2, places(0, 1, 2, 4, 5)).places.tolist() == []
    assert top(scores, 2, NOBODY).scores.tolist() == pytest.approx([0.9, 0.5])


def test_a_row_may_not_have_what_the_index_was_not_made_for() -> None:
    index = InvertedIndex(2, [3])
    index.write(0, np.asarray([4], dtype=np.uint32), np.ones(1, dtype=np.float32))
    with pytest.raises(ValueError, match="made for"):
        index.scores(np.asarray([3], dtype=np.uint32), np.ones(1, dtype=np.float32))


@given(
    st.lists(st.tuples(st.integers(0, 7), st.integers(0, 3)), max_size=30),
    st.integers(1, 5),
    st.sets(st.integers(0, 7)),
)
def test_trends_are_ordered_as_their_values_are_however_they_came(
    chosen: list[tuple[int, int]], depth: int, blocked: set[int]
) -> None:
    """Times are few, so that many values are equal; the order is asked for in between."""
    index = catalogue(*(Content(item_id=str(number), title="T") for number in range(8)))
    is_blocked = np.isin(np.arange(8), list(blocked))
    for item, hour in chosen:
        index.count(item, NOW + 3_600.0 * hour)
        found = index.first_by("trend.day", NOW, depth, is_blocked)
        expected = top(index.trends["day"], depth, places(*blocked))
        assert found.places.tolist() == expected.places.tolist()
        assert found.scores.tolist() == expected.scores.tolist()


def both(items: ItemIndex, now: float) -> IndexedCandidates:
    """Candidates that one source found, of which there are two."""
    snapshot = IndexSnapshot(items, tuple(items.trends), now)
    return IndexedCandidates.merge({"taste": SearchResult(places(0, 1), np.ones(2))}, 5, (), snapshot, False)


def test_candidates_are_as_their_index_was_when_it_was_searched() -> None:
    items = catalogue(Content(item_id="a", title="A"), Content(item_id="b", title="B"))
    items.count(0, NOW)
    candidates = both(items, NOW)
    items.count(0, NOW)
    items.count(1, NOW)
    assert candidates.counts("hour", NOW).tolist() == pytest.approx([1.0, 0.0])
    assert candidates.chosen().tolist() == [1, 0]


def test_trends_are_the_decayed_counts_of_the_model() -> None:
    items = catalogue(Content(item_id="a", title="A"), Content(item_id="b", title="B"))
    items.count(0, NOW - 3_600)
    items.count(0, NOW)
    for window in ("hour", "quarter"):
        tau = trend_tau(window)
        expected = add_to_decayed_count(add_to_decayed_count(None, 1, NOW - 3_600, tau), 1, NOW, tau)
        found = items.first_by(f"trend.{window}", NOW, 5, np.zeros(2, dtype=np.bool_))
        assert (found.places.tolist(), found.scores.tolist()) == ([0], [expected])
        assert both(items, NOW + 60).counts(window, NOW + 60).tolist() == [
            pytest.approx(decayed_count_at(expected, NOW + 60, tau)),
            0.0,
        ]
    assert both(items, NOW).chosen().tolist() == [2, 0]
    assert items.popularity(0, NOW + 60) == pytest.approx(decayed_count_at(expected, NOW + 60, trend_tau("quarter")))


def test_an_item_is_as_old_as_its_publication_or_its_own_time() -> None:
    items = catalogue(
        Content(item_id="a", title="A", published_at=NOW, timestamp=NOW + 9),
        Content(item_id="b", title="B", timestamp=NOW + 9),
        Content(item_id="c", title="C"),
    )
    assert items.listed_at(NOW + 9).tolist() == [NOW, NOW + 9, -np.inf]
    assert items.listed_at(NOW + 8).tolist() == [NOW, -np.inf, -np.inf]
    everything = np.zeros(3, dtype=np.bool_)
    assert items.first_by("listed_at", NOW + 9, 5, everything).places.tolist() == [1, 0]
    assert items.first_by("listed_at", NOW + 8, 5, everything).places.tolist() == [0]
    assert both(items, NOW + 8).listed_at().tolist() == [NOW, -np.inf]


def test_similarities_are_cosines_of_unit_vectors() -> None:
    items = catalogue(Content(item_id="a", title="A"), Content(item_id="b", title="B"))
    found = items.similarities([np.asarray([0.6, 0.8, 0.0]), np.asarray([0.0, 0.0, 1.0])])
    assert found == pytest.approx(np.asarray([[0.6, 0.8], [0.0, 0.0]]))
