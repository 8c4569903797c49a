from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raymlops.errors import ConflictError
from raymlops.monitoring import Profile, Reference

RNG = np.random.default_rng(0)
REFERENCE = Reference.fit(pa.table({"x": RNG.normal(size=500), "k": RNG.integers(0, 5, 500).astype(str)}))
WINDOWS = st.lists(
    st.tuples(st.floats(allow_nan=True) | st.none(), st.sampled_from(["0", "1", "9", None])), max_size=30
)


def profile(rows: list[tuple[float | None, str | None]]) -> Profile:
    x = pa.array([x for x, _ in rows], pa.float64())
    return REFERENCE.profile(pa.table({"x": x, "k": pa.array([k for _, k in rows], pa.string())}))


@settings(max_examples=60, deadline=None)
@given(WINDOWS, WINDOWS, WINDOWS)
def test_profiles_add_up_like_their_rows(a: list, b: list, c: list) -> None:  # type: ignore[type-arg]
    whole = profile(a + b + c).dumps()
    assert ((profile(a) + profile(b)) + profile(c)).dumps() == whole
    assert (profile(a) + (profile(b) + profile(c))).dumps() == whole
    assert (profile(c) + profile(a) + profile(b)).dumps() == whole


@settings(max_examples=60, deadline=None)
@given(WINDOWS)
def test_a_profile_survives_a_round_trip(rows: list) -> None:  # type: ignore[type-arg]
    made = profile(rows)
    assert Profile.loads(made.dumps()).dumps() == made.dumps()


def test_the_size_does_not_depend_on_the_rows() -> None:
    small, large = (REFERENCE.profile(pa.table({"x": RNG.normal(size=n), "k": ["1"] * n})) for n in (100, 100_000))
    assert len(large.dumps()) < len(small.dumps()) + 200


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
