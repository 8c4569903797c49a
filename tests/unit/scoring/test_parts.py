"""Parts: each row in exactly one, and none larger than asked but for a row group that is."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymlops.errors import DataError
from raymlops.records.scoring import Part, PartReceipt, RowGroup, ScoredFile
from raymlops.scoring import JobState, cut_parts

GROUPS = st.lists(st.integers(0, 50), max_size=30)


def groups_of(sizes: list[int]) -> list[RowGroup]:
    return [RowGroup(path=f"{number % 3}", number=number, rows=rows) for number, rows in enumerate(sizes)]


def receipt_of(part: Part) -> PartReceipt:
    file = ScoredFile(path=f"{part.number}", rows=part.rows, size_bytes=1)
    return PartReceipt(part=part.number, rows=part.rows, files=(file,))


@given(GROUPS, st.integers(1, 60))
def test_every_row_is_in_exactly_one_part(sizes: list[int], part_rows: int) -> None:
    groups = groups_of(sizes)
    parts = cut_parts(groups, part_rows)
    assert [group for part in parts for group in part.groups] == [group for group in groups if group.rows]
    assert [part.number for part in parts] == list(range(len(parts)))
    first = 0
    for part in parts:
        assert part.first_row == first
        assert 0 < part.rows <= part_rows or len(part.groups) == 1
        first += part.rows
    assert first == sum(sizes)


@given(GROUPS, st.integers(1, 60))
def test_parts_are_as_few_as_neighbours_allow(sizes: list[int], part_rows: int) -> None:
    parts = cut_parts(groups_of(sizes), part_rows)
    for part, following in pairwise(parts):
        assert part.rows + following.groups[0].rows > part_rows


@given(GROUPS, st.data())
def test_whatever_order_parts_end_in_the_state_is_the_same(sizes: list[int], data: st.DataObject) -> None:
    """Also where a part is told of twice, as after a crash between its end and its note."""
    parts = cut_parts(groups_of(sizes), 20)
    ended = data.draw(st.lists(st.sampled_from(parts), max_size=40) if parts else st.just([]))
    state = JobState(parts)
    for part in ended:
        state = state.with_receipt(receipt_of(part))
    numbers = {part.number for part in ended}
    assert {part.number for part in state.missing} == {part.number for part in parts} - numbers
    assert state.rows == sum(part.rows for part in parts if part.number in numbers)
    assert [file.path for file in state.files] == [str(number) for number in sorted(numbers)]


def test_a_receipt_that_does_not_account_for_every_row_is_refused() -> None:
    (part,) = cut_parts(groups_of([10]), 20)
    state = JobState([part])
    whole = receipt_of(part)
    short = whole.model_copy(update={"files": (whole.files[0].model_copy(update={"rows": 9}),)})
    with pytest.raises(DataError, match="part 0 has 10 rows, scored 10, written 9"):
        state.with_receipt(short)
    with pytest.raises(DataError, match="part 7 is none of the 1 parts"):
        state.with_receipt(whole.model_copy(update={"part": 7}))
