from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raymlops.errors import DataError, SchemaMismatch
from raymlops.features.keys import encode_key, group_rows, key_of_row, match_rows

parts = st.one_of(st.integers(-(2**63), 2**63 - 1), st.text(max_size=4), st.sampled_from(["1:", "i1:", "s1:a", ""]))


@settings(max_examples=200, deadline=None)
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
    numbers, distinct = group_rows(table, ["x", "y"])
    assert numbers.tolist() == [0, 1, -1, 2]
    others = pa.table({"y": ["a", "b", None, "a"], "x": pa.array([2, 1, 1, 3], pa.int32())})
    assert match_rows("spine", others, ["x", "y"], distinct).tolist() == [2, 1, -1, -1]


def test_no_key_is_one_entity() -> None:
    numbers, distinct = group_rows(pa.table({"x": [1, 2]}), [])
    assert numbers.tolist() == [0, 0]
    assert match_rows("spine", pa.table({"z": [1, 2, 3]}), [], distinct).tolist() == [0, 0, 0]


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
