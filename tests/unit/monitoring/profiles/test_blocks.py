from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from raymlops.monitoring.profiles.blocks import MIN_BLOCK_ROWS, BlockCuts, cut_rows, stretches_of_times


def cut_times(times: NDArray[np.int64], window: int) -> BlockCuts | None:
    stretches = stretches_of_times(int(times.min()), int(times.max()), window)
    return None if stretches is None else BlockCuts(stretches, stretches.segment(times))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 5000), st.integers(0, 2**32 - 1))
def test_every_stretch_is_counted_as_if_alone(rows: int, seed: int) -> None:
    slots = np.random.default_rng(seed).integers(0, 5, rows)
    cuts = cut_rows(rows)
    tables = cuts.tables(slots, 5)
    ways = cuts.stretches
    assert len(tables) == len(ways.starts)
    ends = np.r_[0, np.cumsum(np.bincount(cuts.segment, minlength=ways.segments))]
    for table, starts, stops in zip(tables, ways.starts, ways.stops, strict=True):
        for counts, first, last in zip(table, ends[starts], ends[stops], strict=True):
            assert counts.tolist() == np.bincount(slots[first:last], minlength=5).tolist()


def test_lengths_go_from_fifty_rows_to_an_eighth() -> None:
    assert cut_rows(399).stretches.starts == ()
    tables = cut_rows(16_000).tables(np.zeros(16_000, dtype=np.intp), 3)
    lengths = [int(table[0].sum()) for table in tables]
    assert lengths[0] >= MIN_BLOCK_ROWS
    assert lengths[-1] == 2000
    assert np.diff(np.log2(lengths)) == pytest.approx(0.5, abs=0.02)
    assert all((table.sum(axis=1) == length).all() for table, length in zip(tables, lengths, strict=True))


def test_stretches_of_one_length_overlap_and_reach_both_ends() -> None:
    cuts = cut_rows(8000).stretches
    assert [starts[0] for starts in cuts.starts] == [0] * len(cuts.starts)
    assert [stops[-1] for stops in cuts.stops] == [cuts.segments] * len(cuts.stops)
    assert len(cuts.starts[-1]) == 32


def test_stretches_by_time_span_a_window_each() -> None:
    times = np.repeat(np.arange(40), [10, 70] * 20)  # every other day is busy
    cuts = cut_times(times, 2)
    assert cuts is not None
    assert cuts.stretches.by_time
    (table,) = cuts.tables(np.zeros(times.size, dtype=np.intp), 2)
    assert set(table[:, 0]) <= {80, 150, 20, 90, 140}
    assert np.median(table[:, 0]) == 80


def test_too_few_windows_to_compare_are_none() -> None:
    times = np.arange(1000)
    assert cut_times(times, 300) is None
    assert cut_times(times, 255) is not None  # the last of four nearly fits
    assert cut_times(times, 240) is not None


def test_stretches_of_few_rows_are_left_out() -> None:
    times = np.r_[np.arange(0, 400, 2), np.arange(400, 1000, 20)]
    cuts = cut_times(times, 100)
    assert cuts is not None
    (table,) = cuts.tables(np.zeros(times.size, dtype=np.intp), 2)
    assert table[:, 0].min() >= MIN_BLOCK_ROWS
