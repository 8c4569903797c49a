from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raymlops.features.offline.bucketed import bucket_numbers, order_by_bucket
from tests.support.examples import examples

integers = st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1))
texts = st.one_of(st.none(), st.text(max_size=6))


@settings(max_examples=examples(150), deadline=None)
@given(st.lists(st.tuples(integers, texts), min_size=1, max_size=20), st.integers(1, 9), st.randoms())
def test_equal_keys_share_a_bucket_however_they_are_held(
    rows: list[tuple[int | None, str | None]], buckets: int, chance: object
) -> None:
    numbers, words = (list(column) for column in zip(*rows, strict=True))
    whole = [pa.array(numbers, pa.int64()), pa.array(words, pa.string())]
    expected = bucket_numbers(whole, buckets, len(rows)).tolist()
    chunked = [pa.chunked_array([column.slice(0, 3), column.slice(3)]) for column in whole]
    assert bucket_numbers(chunked, buckets, len(rows)).tolist() == expected
    large = [whole[0], whole[1].cast(pa.large_string())]
    assert bucket_numbers(large, buckets, len(rows)).tolist() == expected
    alone = [bucket_numbers([column.slice(row, 1) for column in whole], buckets, 1)[0] for row in range(len(rows))]
    assert alone == expected


def test_buckets_are_the_same_on_every_machine_and_in_every_release() -> None:
    keys = [pa.array([0, 1, -1, 2**62]), pa.array(["", "a", "ab", "ü"])]
    assert bucket_numbers(keys, 1000, 4).tolist() == GOLDEN


GOLDEN = [0, 189, 537, 32]


@pytest.mark.parametrize(
    "keys",
    [
        pa.array(np.arange(60_000)),
        pa.array(np.arange(60_000) << 32),
        pa.array([f"user-{n:09d}" for n in range(60_000)]),
        pa.array([f"{n:09d}-user" for n in range(60_000)]),
    ],
)
def test_keys_that_are_like_each_other_spread_evenly(keys: pa.Array) -> None:
    sizes = np.bincount(bucket_numbers([keys], 60, len(keys)), minlength=60)
    assert sizes.min() > 800
    assert sizes.max() < 1200


def test_no_key_columns_are_one_bucket() -> None:
    assert bucket_numbers([], 1, 3).tolist() == [0, 0, 0]
    assert bucket_numbers([pa.chunked_array([], pa.string())], 5, 0).tolist() == []


def test_rows_of_a_bucket_stay_in_order() -> None:
    order, starts = order_by_bucket(np.array([2, 0, 2, 0], np.uint16), 4)
    assert order.tolist() == [1, 3, 0, 2]
    assert starts.tolist() == [0, 2, 2, 4, 4]
