"""Memory of a model is what was measured where nothing else ran, and never what another model took alone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from raymlops.serving.pool.footprint import Footprints

MIB = 1 << 20
MUCH = 1 << 40


def test_a_measurement_is_believed_and_stands_for_later_loads_of_the_model() -> None:
    prints = Footprints()
    assert prints.taken_bytes("a", 2 * MIB, None, MUCH) == 2 * MIB
    assert prints.taken_bytes("a", 2 * MIB, 10 * MIB, MUCH) == 10 * MIB
    assert prints.taken_bytes("a", 4 * MIB, None, MUCH) == 20 * MIB
    prints.forget("a")
    assert prints.taken_bytes("b", 2 * MIB, 2 * MIB, MUCH) == 2 * MIB
    assert prints.taken_bytes("a", 2 * MIB, None, MUCH) == 6 * MIB  # as both together: 12 of 4


def test_what_the_process_gave_back_meanwhile_makes_no_model_smaller_than_its_files() -> None:
    assert Footprints().taken_bytes("a", 2 * MIB, -5 * MIB, MUCH) == 2 * MIB


loads = st.tuples(st.sampled_from("abc"), st.integers(0, 50 * MIB), st.none() | st.integers(-MIB, 900 * MIB))


@given(st.lists(loads), st.integers(1, 100 * MIB), st.integers(-MIB, 100 * MIB))
def test_a_model_that_was_never_measured_takes_more_than_it_may_only_by_its_files(
    before: list[tuple[str, int, int | None]], files: int, most: int
) -> None:
    prints = Footprints()
    for model, size, grown in before:
        prints.taken_bytes(model, size, grown, MUCH)
    taken = prints.taken_bytes("new", files, None, most)
    assert files <= taken <= max(files, most)
