from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raymlops.errors import DataError, SchemaMismatch
from raymlops.features.offline.keys import encode_key, group_rows, key_of_row, match_rows
from tests.support.examples import examples

parts = st.one_of(st.integers(-(2**63), 2**63 - 1), st.text(max_size=4), st.sampled_from(["1:", "i1:", "s1:a", ""]))


@settings(max_examples=examples(200), deadline=None)
@given(st.lists(parts, max_size=3), st.lists(parts, max_size=3))
def test_different_keys_have_different_bytes(left: list[int | str], right: list[int | str]) -> None:
    assert (encode_key(left) == encode_key(right)) == (left == right)


def test_the_parts_of_a_key_cannot_be_mistaken_for_others() -> None:
    keys: list[list[int | str]] = [
        ["a", "b"],
        ["asb"],
        ["as1:b"],
        ["a", "bs"],
        ["1"],
        [1],
        [1, 1],
        [11],
        ["i1:"],
        [""],
        ["", ""],
        [],
    ]
    assert len({encode_key(key) for key in keys}) == len(keys)


def test_long_keys_are_hashed_and_still_differ() -> None:
    long = "x" * 10_000
    encoded = {
        encode_key([long]),
        encode_key([long + "y"]),
        encode_key([long, "y"]),
        encode_key([encode_key([long]).hex()]),
    }
    assert len(encoded) == 4
    assert max(map(len, encoded)) <= 400


def test_numbers_of_rows_and_of_others() -> None:
    table = pa.table({"x": [1, 1, None, 2], "y": ["a", "b", "a", "a"]})
    numbers, index = group_rows(table, ["x", "y"])
    assert numbers.tolist() == [0, 1, -1, 2]
    assert index.distinct.rows() == [(1, "a"), (1, "b"), (2, "a")]
    others = pa.table({"y": ["a", "b", None, "a"], "x": pa.array([2, 1, 1, 3], pa.int32())})
    assert match_rows("spine", others, index, ["x", "y"]).tolist() == [2, 1, -1, -1]


def test_no_key_is_one_entity() -> None:
    numbers, index = group_rows(pa.table({"x": [1, 2]}), [])
    assert numbers.tolist() == [0, 0]
    assert len(index) == 1
    assert match_rows("spine", pa.table({"z": [1, 2, 3]}), index, []).tolist() == [0, 0, 0]


near = st.one_of(st.none(), st.integers(-3, 3))
far = st.one_of(st.none(), st.sampled_from([-(2**63), 2**63 - 1, 0, 10**12]))
words = st.one_of(st.none(), st.text(max_size=2))


@settings(max_examples=examples(150), deadline=None)
@given(
    st.lists(st.tuples(near, far, words), max_size=12),
    st.lists(st.tuples(near, far, words), max_size=12),
    st.permutations(["near", "far", "words"]),
    st.integers(0, 3),
)
def test_numbers_are_dense_and_equal_for_equal_keys(
    rows: list[tuple[object, ...]], others: list[tuple[object, ...]], names: list[str], count: int
) -> None:
    """For close and for scattered integers, text, and all their combinations, in one chunk or several."""
    types = {"near": pa.int64(), "far": pa.int64(), "words": pa.string()}

    def build(entries: list[tuple[object, ...]]) -> pa.Table:
        columns = zip(*entries, strict=True) if entries else [()] * 3
        whole = pa.table({n: pa.array(c, t) for (n, t), c in zip(types.items(), columns, strict=True)})
        return pa.concat_tables([whole.slice(0, 5), whole.slice(5)])

    keys = names[:count]
    table, spine = build(rows), build(others)
    numbers, index = group_rows(table, keys)
    assert index.distinct.height == len(index)
    assert sorted(set(numbers[numbers >= 0].tolist())) == (list(range(len(index))) if keys or rows else [])
    known = index.distinct.rows()
    wanted = [tuple(row[key] for key in keys) for row in table.to_pylist()]
    for key, number in zip(wanted, numbers.tolist(), strict=True):
        assert (number == -1) if None in key else (not keys or known[number] == key)
    found = match_rows("spine", spine, index, keys).tolist()
    for row, number in zip(spine.to_pylist(), found, strict=True):
        key = tuple(row[name] for name in keys)
        assert number == (known.index(key) if key in known else -1) if keys else number == 0


def test_a_request_key_must_be_there_and_of_the_tables_type() -> None:
    row = {"x": 1, "y": "a", "more": 2.0}
    assert key_of_row(row, ["x", "y"], (int, str), "view 'v'") == encode_key([1, "a"])
    assert key_of_row({"x": None, "y": "a"}, ["x", "y"], (int, str), "view 'v'") is None
    assert key_of_row(row, ["x", "y"], (), "view 'v'") == encode_key([1, "a"])
    assert key_of_row(row, [], (), "view 'v'") == b""
    with pytest.raises(SchemaMismatch, match="view 'v': key 'z' is missing, got \\['more', 'x', 'y'\\]"):
        key_of_row(row, ["z"], (int,), "view 'v'")
    for wrong, types, message in [
        ("1", (int,), "key 'x' must be int, got '1'"),
        (1, (str,), "key 'x' must be str, got 1"),
        (True, (int,), "key 'x' must be int, got True"),
        (1.0, (int,), "key 'x' must be int, got 1.0"),
        ([1], (), "key 'x' must be int or str, got \\[1\\]"),
        (2.5, (), "key 'x' must be int or str, got 2.5"),
    ]:
        with pytest.raises(DataError, match=message):
            key_of_row({"x": wrong}, ["x"], types, "view 'v'")
