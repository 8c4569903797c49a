from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from raymlops.monitoring.dispersion import (
    BlockNull,
    block_table,
    critical_statistic,
    fit_block_nulls,
    p_value,
    row_blocks,
)
from raymlops.monitoring.divergence import Evidence

EVIDENCE = Evidence("shape", 40.0, 10, 0.1)


def test_without_blocks_rows_are_taken_as_independent() -> None:
    assert p_value(EVIDENCE, 500, []) == pytest.approx(stats.chi2.sf(40.0, 10))
    assert p_value(EVIDENCE, 500, [BlockNull("location", 500, 8, 9.0, 1.0)]) == p_value(EVIDENCE, 500, [])
    assert p_value(EVIDENCE, 500, [BlockNull("shape", 500, 8, 1.0, 10.0)]) == p_value(EVIDENCE, 500, [])


@pytest.mark.parametrize("nulls", [[], [BlockNull("shape", 500, 8, 3.0, 4.0)]])
def test_the_critical_statistic_is_where_the_p_value_is(nulls: list[BlockNull]) -> None:
    for p in (0.05, 1e-4):
        bar = critical_statistic(EVIDENCE, 500, nulls, p)
        assert p_value(Evidence("shape", bar, 10, 0.1), 500, nulls) == pytest.approx(p, rel=1e-6)


def test_dispersion_weakens_the_evidence() -> None:
    dispersed = p_value(EVIDENCE, 500, [BlockNull("shape", 500, 16, 3.0, 10.0)])
    assert dispersed > p_value(EVIDENCE, 500, []) * 100
    assert dispersed == pytest.approx(stats.f.sf(40 / 30, 10, 150))


def test_dispersion_grows_beyond_the_longest_block_as_it_did_before() -> None:
    growing = [BlockNull("shape", 100, 64, 2.0, 10.0), BlockNull("shape", 200, 32, 3.0, 10.0)]
    level = [BlockNull("shape", 100, 64, 3.0, 10.0), BlockNull("shape", 200, 32, 3.0, 10.0)]
    assert p_value(EVIDENCE, 400, growing) == pytest.approx(
        p_value(EVIDENCE, 200, [BlockNull("shape", 200, 32, 5.0, 10.0)])
    )
    assert p_value(EVIDENCE, 400, level) == pytest.approx(p_value(EVIDENCE, 200, level))


def test_what_short_blocks_have_shown_holds_for_long_ones() -> None:
    nulls = [BlockNull("shape", 100, 64, 3.0, 10.0), BlockNull("shape", 800, 8, 1.0, 10.0)]
    assert p_value(EVIDENCE, 800, nulls) == p_value(EVIDENCE, 100, nulls)


def test_blocks_by_time_scale_with_the_rows() -> None:
    null = BlockNull("shape", 6000, 8, 13.0, 10.0, True)
    assert null.at(1000, 0.0) == 3.0
    assert null.at(6000, 0.0) == 13.0


def test_row_blocks_are_equal_and_long_enough() -> None:
    assert row_blocks(300) == []
    cuts = row_blocks(1600)
    assert [int(cut.max()) + 1 for cut in cuts] == [8, 16, 32]
    assert set(np.bincount(cuts[-1])) == {50}


def test_short_blocks_are_left_out() -> None:
    table = block_table(np.zeros(130, dtype=np.intp), 3, np.repeat([0, 1, -1], [60, 40, 30]))
    assert table.tolist() == [[60, 0, 0]]
    assert fit_block_nulls(table, ordered=True, by_time=False) == []


def test_independent_rows_have_dispersion_one_and_alike_neighbours_more() -> None:
    rng = np.random.default_rng(0)
    independent = rng.integers(0, 8, 8000)
    alike = np.clip(np.repeat(rng.integers(0, 8, 80), 100) + rng.integers(-1, 2, 8000), 0, 7)
    for slots, dispersed in ((independent, False), (alike, True)):
        table = block_table(slots, 10, row_blocks(8000)[0])
        nulls = {null.test: null.dispersion for null in fit_block_nulls(table, ordered=True, by_time=False)}
        assert (nulls["shape"] > 1) is dispersed
        assert (nulls["location"] > 1) is dispersed
