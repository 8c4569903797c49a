from __future__ import annotations

import numpy as np
import orjson
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raymlops.errors import ConflictError, DataError
from raymlops.monitoring import Profile, Reference
from raymlops.monitoring.profiles.sketched_columns import new_value_share
from tests.support.examples import examples

RNG = np.random.default_rng(0)
REFERENCE = Reference.fit(pa.table({"x": RNG.normal(size=500), "k": RNG.integers(0, 5, 500).astype(str)}))
WINDOWS = st.lists(
    st.tuples(st.floats(allow_nan=True) | st.none(), st.sampled_from(["0", "1", "9", None])), max_size=30
)


def profile(rows: list[tuple[float | None, str | None]]) -> Profile:
    x = pa.array([x for x, _ in rows], pa.float64())
    return REFERENCE.profile(pa.table({"x": x, "k": pa.array([k for _, k in rows], pa.string())}))


@settings(max_examples=examples(60), deadline=None)
@given(WINDOWS, WINDOWS, WINDOWS)
def test_profiles_add_up_like_their_rows(a: list, b: list, c: list) -> None:  # type: ignore[type-arg]
    whole = profile(a + b + c).dumps()
    assert ((profile(a) + profile(b)) + profile(c)).dumps() == whole
    assert (profile(a) + (profile(b) + profile(c))).dumps() == whole
    assert (profile(c) + profile(a) + profile(b)).dumps() == whole


@settings(max_examples=examples(60), deadline=None)
@given(WINDOWS)
def test_a_profile_survives_a_round_trip(rows: list) -> None:  # type: ignore[type-arg]
    made = profile(rows)
    assert Profile.loads(made.dumps()).dumps() == made.dumps()


def test_the_size_does_not_depend_on_the_rows() -> None:
    small, large = (REFERENCE.profile(pa.table({"x": RNG.normal(size=n), "k": ["1"] * n})) for n in (100, 100_000))
    assert len(large.dumps()) < len(small.dumps()) + 200


WIDE = Reference.fit(
    pa.table(
        {"x": RNG.normal(size=5000), "id": [f"u{i}" for i in range(5000)], "k": RNG.integers(0, 5, 5000).astype(str)}
    )
)


def sketched(rows: int, first: int = 0, seed: int = 0) -> Profile:
    rng = np.random.default_rng(seed)
    names = [f"u{i}" for i in range(first, first + rows)]
    table = pa.table({"x": rng.normal(size=rows), "id": names, "k": rng.integers(0, 5, rows).astype(str)})
    return WIDE.profile(table, sketched=True)


def test_sketches_add_up_and_survive_a_round_trip() -> None:
    parts = [sketched(1000, first, seed) for seed, first in enumerate((0, 4000, 4500))]
    one, other = (parts[0] + parts[1]) + parts[2], parts[2] + (parts[1] + parts[0])
    for total in (one, other, Profile.loads(one.dumps())):
        assert total == one
        assert total.quantiles["x"].rows == total.identifiers["id"].rows == total.rows == 3000
        assert total.identifiers["id"].distinct.dumps() == one.identifiers["id"].distinct.dumps()
        assert total.identifiers["id"].distinct.count == pytest.approx(2500, rel=0.06)
        assert total.identifiers["id"].distinct_share == pytest.approx(2500 / 3000, rel=0.06)
        assert new_value_share(total.identifiers["id"], WIDE.bins("id")) == pytest.approx(500 / 3000, abs=0.02)
        assert abs(total.quantiles["x"].quantiles([0.5])[0]) < 0.1
    assert set(one.quantiles) == {"x"}
    assert set(one.identifiers) == {"id"}


def test_a_sketched_profile_keeps_what_only_one_side_has() -> None:
    without = WIDE.profile(pa.table({"x": pa.nulls(3), "k": ["1"] * 3}), sketched=True)
    assert "id" not in without.identifiers
    both = without + sketched(100)
    assert both.rows == 103
    assert both.identifiers["id"].rows == (sketched(100) + without).identifiers["id"].rows == 100


def test_the_size_of_a_sketched_profile_is_bounded() -> None:
    small, large = (len(sketched(rows).dumps()) for rows in (200_000, 1_000_000))
    assert large < 1.5 * small < 60_000


def test_profiles_without_sketches_are_stored_as_ever() -> None:
    plain = WIDE.profile(pa.table({"x": [1.0], "id": ["a"], "k": ["1"]}))
    assert orjson.loads(plain.dumps())["format"] == 1
    assert Profile.loads(plain.dumps()) == plain
    assert len({plain, Profile.loads(plain.dumps())}) == 1
    assert plain != sketched(1)
    assert orjson.loads(sketched(1).dumps())["format"] == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 3}, "profile must be of format 1 or 2"),
        ({"quantiles": {"x": "AAAA"}}, "a quantile sketch must be one of KLL"),
        ({"identifiers": {"id": ["AAAA", 1]}}, "profile must have the fields of format 2"),
    ],
)
def test_other_documents_are_refused(change: dict, message: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(DataError, match=message):
        Profile.loads(orjson.dumps({**orjson.loads(sketched(10).dumps()), **change}))


def test_a_reference_from_before_identifiers_were_remembered_is_read() -> None:
    stored = orjson.loads(WIDE.dumps())
    del stored["columns"]["id"]["bins"]["known"]
    old = Reference.loads(orjson.dumps(stored))
    assert Reference.loads(old.dumps()).digest == old.digest != WIDE.digest
    found = old.profile(pa.table({"x": [1.0], "id": ["a"], "k": ["1"]}), sketched=True)
    assert new_value_share(found.identifiers["id"], old.bins("id")) is None


def test_problems_and_new_columns_are_kept() -> None:
    odd = REFERENCE.profile(pa.table({"x": ["text"], "z": [1]}))
    merged = odd + profile([(1.0, "1")])
    assert set(merged.problems) == {"x", "k"}
    assert merged.new_columns == ("z",)
    assert merged.dumps() == (profile([(1.0, "1")]) + odd).dumps()


def test_profiles_of_different_references_do_not_add_up() -> None:
    other = Reference.fit(pa.table({"x": [1.0, 2.0]}))
    with pytest.raises(ConflictError, match="must share one reference"):
        _ = profile([]) + other.profile(pa.table({"x": [1.0]}))


@pytest.mark.parametrize(
    ("column", "rows", "constant"),
    [
        ("x", [(2.0, "1"), (2.0, "0"), (None, "0")], True),
        ("x", [(2.0, "1"), (2.1, "0")], False),
        ("x", [(None, "1")], False),
        ("k", [(2.0, "1"), (2.1, "1")], True),
        ("k", [(2.0, "1"), (2.1, "0")], False),
        ("k", [(2.0, "new"), (2.1, "newer")], False),
    ],
)
def test_constant_columns_are_known(column: str, rows: list, constant: bool) -> None:  # type: ignore[type-arg]
    assert profile(rows).constant(column, REFERENCE.bins(column)) is constant
