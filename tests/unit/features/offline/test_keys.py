from __future__ import annotations

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from raymlops.features.offline.key_numbers import group_rows
from raymlops.features.offline.keys import match_rows
from tests.support.examples import examples


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
