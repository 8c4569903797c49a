from __future__ import annotations

import math
import pickle

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raymlops.errors import DataError
from raymlops.monitoring.profiles.sketches import DistinctSketch, KnownValues, QuantileSketch, hash_texts
from tests.support.examples import examples

TEXTS = st.lists(st.text(max_size=20), max_size=60)
NUMBERS = st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=80)
SHARES = (0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99)
RANK_ERROR = 0.003


def hashes(texts: list[str]) -> np.ndarray:
    return hash_texts(pa.array(texts, pa.string()))


@settings(max_examples=examples(60), deadline=None)
@given(TEXTS, TEXTS, TEXTS)
def test_distinct_counts_add_up_like_their_values(a: list[str], b: list[str], c: list[str]) -> None:
    one, two, three = (DistinctSketch(hashes(texts)) for texts in (a, b, c))
    whole = DistinctSketch(hashes(a + b + c)).dumps()
    assert ((one + two) + three).dumps() == (one + (two + three)).dumps() == (three + one + two).dumps() == whole
    assert (one + one).dumps() == one.dumps()
    assert DistinctSketch.loads(whole).dumps() == whole


@pytest.mark.parametrize("number", [0, 1, 10, 1000, 30_000, 300_000])
def test_a_distinct_count_keeps_the_error_it_states(number: int) -> None:
    sketch = DistinctSketch(hashes([f"user {i}" for i in range(number)]))
    assert abs(sketch.count - number) <= max(0.5, 4 * sketch.error * number)
    assert len(sketch.dumps()) < 6000


@settings(max_examples=examples(60), deadline=None)
@given(TEXTS)
def test_a_hash_depends_on_the_text_alone(texts: list[str]) -> None:
    found = hashes(texts)
    assert [int(hashes([text])[0]) for text in texts] == found.tolist()
    assert hash_texts(pa.array(["before", *texts]).slice(1)).tolist() == found.tolist()
    assert len(np.unique(found)) == len(set(texts))


def test_hashes_are_stored_so_they_must_not_change() -> None:
    assert hashes(["", "a", "ab"]).tolist() == [0, 7523282276152634861, 9651914036957314565]
    assert hash_texts(pa.array(["a", None, ""])).tolist() == [7523282276152634861, 0]


@settings(max_examples=examples(60), deadline=None)
@given(NUMBERS, NUMBERS, NUMBERS)
def test_few_numbers_are_kept_exactly_in_any_order(a: list[float], b: list[float], c: list[float]) -> None:
    one, two, three = (QuantileSketch(np.array(values)) for values in (a, b, c))
    ordered = sorted(a + b + c)
    for sketch in ((one + two) + three, one + (two + three), three + one + two, QuantileSketch(np.array(a + b + c))):
        assert sketch.rows == len(ordered)
        if ordered:
            for share, value in zip(SHARES, sketch.quantiles(SHARES), strict=True):
                assert np.mean(np.array(ordered) < value) < share + 1e-9
                assert np.mean(np.array(ordered) <= value) > share - 1e-9


@pytest.mark.parametrize("parts", [1, 7, 100])
def test_merged_quantiles_are_as_near_as_is_said(parts: int) -> None:
    values = np.random.default_rng(parts).lognormal(size=200_000)
    pieces = [QuantileSketch(part) for part in np.array_split(values, parts)]
    total = QuantileSketch()
    for piece in pieces:
        total = total + piece
    ranks = [float(np.mean(values <= value)) for value in total.quantiles(SHARES)]
    assert total.rows == values.size
    assert max(abs(rank - share) for rank, share in zip(ranks, SHARES, strict=True)) <= 2 * RANK_ERROR
    assert total.ranks([float(np.median(values))])[0] == pytest.approx(0.5, abs=2 * RANK_ERROR)
    again = QuantileSketch.loads(total.dumps())
    assert again.quantiles(SHARES) == total.quantiles(SHARES)


def test_addition_changes_neither_side() -> None:
    one, two = QuantileSketch(np.arange(5000.0)), QuantileSketch(np.arange(100.0))
    before = one.dumps(), two.dumps()
    _ = one + two
    assert (one.dumps(), two.dumps()) == before


def test_a_sketch_travels_between_processes() -> None:
    sketch = QuantileSketch(np.arange(5000.0))
    assert pickle.loads(pickle.dumps(sketch)).dumps() == sketch.dumps()


def test_a_sketch_does_not_grow_with_the_rows() -> None:
    sizes = [len(QuantileSketch(np.random.default_rng(0).normal(size=n)).dumps()) for n in (100_000, 2_000_000)]
    assert sizes[1] < 1.2 * sizes[0] < 40_000


def test_without_values_there_are_no_quantiles() -> None:
    empty = QuantileSketch()
    assert all(math.isnan(value) for value in [*empty.quantiles(SHARES), *empty.ranks([1.0])])
    assert QuantileSketch.loads(empty.dumps()).rows == 0


@pytest.mark.parametrize("known", [0, 100, 50_000, 1_000_000])
def test_values_never_seen_are_counted(known: int) -> None:
    reference = KnownValues.fit(hashes([f"old {i}" for i in range(known)]))
    window = hashes([*(f"old {i}" for i in range(min(known, 2000))), *(f"new {i}" for i in range(3000))])
    share = reference.new_share(reference.unknown(window), window.size)
    assert share == pytest.approx(3000 / window.size, abs=0.05)
    assert reference.unknown(hashes([f"old {i}" for i in range(known)])) == 0
    assert len(reference.dumps()) < 180_000
    assert KnownValues.loads(reference.dumps()).unknown(window) == reference.unknown(window)
    assert reference.new_share(0, 0) == 0


@pytest.mark.parametrize("text", ["", "no base64!", "QUJD", "////"])
@pytest.mark.parametrize("kind", [QuantileSketch, DistinctSketch, KnownValues])
def test_what_is_no_sketch_is_refused(kind: type, text: str) -> None:
    with pytest.raises(DataError):
        kind.loads(text)
