from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raymlops.errors import DataError, SchemaMismatch
from raymlops.features.online.online_keys import RequestKeys, encode_key, encode_keys, key_of_row
from raymlops.features.online.online_store import NOWHERE, address

LONG = "é" * 150
fast = settings(max_examples=40, deadline=None)
texts = st.one_of(st.text(max_size=6), st.sampled_from([LONG, LONG + "x", "y" * 399, "y" * 401, "y" * 195]))
integers = st.integers(-(2**63), 2**63 - 1)


@fast
@given(st.lists(st.tuples(texts, integers), min_size=1, max_size=12, unique=True))
def test_keys_of_a_table_are_those_of_a_request(pairs: list[tuple[str, int]]) -> None:
    for columns, values in (["s", "n"], pairs), (["s"], {(s,) for s, _ in pairs}), (["n"], {(n,) for _, n in pairs}):
        schema = {name: pl.String if name == "s" else pl.Int64 for name in columns}
        frame = pl.DataFrame(sorted(values), schema=schema, orient="row")
        encoded, rows = encode_keys(frame, columns)
        assert encoded == sorted(encode_key(row) for row in values)
        assert encoded == [encode_key(frame.row(row)) for row in rows.tolist()]
        kinds = [str if name == "s" else int for name in columns]
        for types in (kinds, ()):
            keys = RequestKeys("v@1", columns, types, "view 'v'")
            requests = [dict(zip(columns, row, strict=True)) for row in frame.rows()]
            assert keys.addresses(requests) == [address("v@1", encode_key(row)) for row in frame.rows()]


def test_a_world_has_one_key() -> None:
    encoded, rows = encode_keys(pl.DataFrame({"": [True]}), [])
    assert (encoded, rows.tolist()) == ([b""], [0])
    assert RequestKeys("v@1", [], (), "view 'v'").addresses([{}, {}]) == [address("v@1", b"")] * 2


def test_a_null_is_nowhere_and_no_rows_have_no_addresses() -> None:
    keys = RequestKeys("v@1", ["k"], [int], "view 'v'")
    assert keys.addresses([{"k": 1}, {"k": None}]) == [address("v@1", encode_key([1])), NOWHERE]
    assert keys.addresses([]) == []


@pytest.mark.parametrize("wrong", ["1", True, 1.0, b"1"])
def test_values_of_another_type_are_named(wrong: Any) -> None:
    keys = RequestKeys("v@1", ["k"], [int], "view 'v'")
    for rows in ([{"k": wrong}], [{"k": 1}, {"k": wrong}]):
        with pytest.raises(DataError, match="view 'v': key 'k' must be int, got"):
            keys.addresses(rows)


def test_a_missing_column_is_named() -> None:
    keys = RequestKeys("v@1", ["k"], [int], "view 'v'")
    with pytest.raises(SchemaMismatch, match=r"view 'v': key 'k' is missing, got \['j'\]"):
        keys.addresses([{"k": 1}, {"j": 1}])


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
