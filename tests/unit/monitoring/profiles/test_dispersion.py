from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.signal import lfilter

from raymlops.monitoring.profiles.blocks import cut_rows
from raymlops.monitoring.profiles.dispersion import BlockNull, critical_statistic, fit_block_nulls, p_value
from raymlops.monitoring.profiles.divergence import Evidence, location_evidence, shape_evidence, share_evidence

EVIDENCE = Evidence("shape", 40.0, 10, 0.1)
BINS = 8


def null(
    rows: float, dispersion: float, *, blocks: float = 16, freedom: float = 10.0, by_time: bool = False
) -> BlockNull:
    return BlockNull("shape", rows, blocks, dispersion, freedom, by_time)


def test_without_dispersion_rows_are_taken_as_independent() -> None:
    assert p_value(EVIDENCE, 500, []) == pytest.approx(stats.chi2.sf(40.0, 10))
    assert p_value(EVIDENCE, 500, [BlockNull("location", 500, 8, 9.0, 1.0)]) == p_value(EVIDENCE, 500, [])
    assert p_value(EVIDENCE, 500, [null(500, 1.0)]) == p_value(EVIDENCE, 500, [])


@pytest.mark.parametrize("nulls", [[], [null(500, 3.0, freedom=4.0)], [null(500, 3.0, blocks=2.0)]])
def test_the_critical_statistic_is_where_the_p_value_is(nulls: list[BlockNull]) -> None:
    for p in (0.05, 1e-4):
        bar = critical_statistic(EVIDENCE, 500, nulls, p)
        assert p_value(Evidence("shape", bar, 10, 0.1), 500, nulls) == pytest.approx(p, rel=1e-6)


def test_dispersion_weakens_the_evidence() -> None:
    dispersed = p_value(EVIDENCE, 500, [null(500, 3.0)])
    assert dispersed > p_value(EVIDENCE, 500, []) * 100
    assert dispersed == pytest.approx(stats.f.sf(40 / 30, 10, 150))


def test_neighbouring_lengths_all_count() -> None:
    """A length that is a whole number of seasons shows nothing; the ones beside it do."""
    season = [null(70, 6.0), null(100, 1.0), null(140, 4.0)]
    assert p_value(EVIDENCE, 100, season) == p_value(EVIDENCE, 100, [null(100, 6.0)])
    assert p_value(EVIDENCE, 100, [null(20, 9.0), null(100, 2.0)]) == p_value(EVIDENCE, 100, [null(100, 2.0)])


def test_dispersion_grows_beyond_the_longest_stretch_as_it_did_before() -> None:
    growing = [null(100, 2.0), null(200, 3.0)]
    level = [null(100, 3.0), null(200, 3.0)]
    assert p_value(EVIDENCE, 400, growing) == pytest.approx(p_value(EVIDENCE, 200, [null(200, 5.0)]))
    assert p_value(EVIDENCE, 400, level) == pytest.approx(p_value(EVIDENCE, 200, level))
    assert p_value(EVIDENCE, 400, [null(200, 3.0)]) == pytest.approx(p_value(EVIDENCE, 400, [null(400, 5.0)]))


def test_what_short_stretches_have_shown_holds_for_long_ones_as_far_as_those_could_hide_it() -> None:
    few = [null(100, 1.5, blocks=64), null(800, 1.0, blocks=8)]
    assert p_value(EVIDENCE, 800, few) == p_value(EVIDENCE, 800, [null(800, 1.5, blocks=64)])
    many = [null(100, 9.0, blocks=64), null(800, 1.0, blocks=200)]
    bound = many[1].hidden
    assert bound < 1.2
    assert p_value(EVIDENCE, 800, many) == pytest.approx(p_value(EVIDENCE, 800, [null(800, bound, blocks=64)]))
    assert p_value(EVIDENCE, 60, [null(800, 1.0), null(2000, 4.0)]) == p_value(EVIDENCE, 60, [])


def test_stretches_by_time_scale_with_the_rows() -> None:
    week = null(6000, 13.0, blocks=8, by_time=True)
    assert week.at(1000, 0.0) == 3.0
    assert p_value(EVIDENCE, 1000, [week]) == p_value(EVIDENCE, 1000, [null(1000, 3.0, blocks=8)])


def coded(values: np.ndarray) -> np.ndarray:
    return np.asarray(np.searchsorted(np.quantile(values, np.linspace(0, 1, BINS + 1)[1:-1]), values), dtype=np.intp)


def fitted(slots: np.ndarray, *, ordered: bool = True) -> list[BlockNull]:
    whole = np.bincount(slots, minlength=BINS + 2)
    return fit_block_nulls(cut_rows(slots.size).tables(slots, BINS + 2), whole, ordered=ordered)


def test_independent_rows_have_dispersion_one() -> None:
    rng = np.random.default_rng(0)
    found = [each for _ in range(20) for each in fitted(rng.integers(0, BINS, 8000))]
    assert np.mean([each.believed for each in found]) < 0.02
    assert all(each.blocks >= 7 for each in found)


@pytest.mark.parametrize("memory", [0.8, 0.9, 0.98])
def test_the_dispersion_of_an_autoregression_is_its_long_run_variance(memory: float) -> None:
    rng = np.random.default_rng(1)
    true = (1 + memory) / (1 - memory)  # of the mean, by the sum of its autocorrelations
    longest = []
    for _ in range(10):
        values = lfilter([np.sqrt(1 - memory**2)], [1.0, -memory], rng.normal(size=41_000))[1000:]
        location = [each for each in fitted(coded(values)) if each.test == "location"]
        shape = [each for each in fitted(coded(values)) if each.test == "shape"]
        assert all(1 <= each.freedom < BINS - 1 for each in shape if each.believed)
        longest.append(location[-1].dispersion)
    assert np.mean(longest) == pytest.approx(true, rel=0.3)


def test_stretches_alike_among_each_other_count_less() -> None:
    slow = coded(lfilter([1.0], [1.0, -0.995], np.random.default_rng(2).normal(size=20_000)))
    shortest, *_, longest = [each for each in fitted(slow) if each.test == "location"]
    assert shortest.blocks < 20_000 / shortest.rows / 3
    assert longest.blocks == pytest.approx(20_000 / longest.rows)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(400, 3000))
def test_the_mean_statistics_are_those_of_the_tests(seed: int, rows: int) -> None:
    """What is computed for all stretches at once is what the tests say of each."""
    rng = np.random.default_rng(seed)
    slots = coded(np.cumsum(rng.normal(size=rows)))
    slots[rng.random(rows) < 0.1] = BINS + 1
    whole = np.bincount(slots, minlength=BINS + 2)
    table = cut_rows(rows).tables(slots, BINS + 2)[-1]
    for name, found in {each.test: each for each in fit_block_nulls([table], whole, ordered=True)}.items():
        if name == "location":
            each = [location_evidence((whole - block)[:-2], block[:-2]) for block in table]
        elif name == "missing":
            each = [
                share_evidence((int(rest[-1]), int(rest[:-1].sum())), (int(block[-1]), int(block[:-1].sum())))
                for block, rest in ((block, whole - block) for block in table)
            ]
        else:
            each = [shape_evidence((whole - block)[:-1], block[:-1]) for block in table]
        if found.believed:
            mean = np.mean([one.statistic / one.freedom for one in each if one is not None])
            assert found.dispersion == pytest.approx(mean, rel=0.25)


def test_what_cannot_be_tested_has_no_dispersion() -> None:
    assert fitted(np.full(4000, BINS + 1)) == []
    assert {each.test for each in fitted(np.full(4000, 3))} == set()
    assert fitted(np.zeros(100, dtype=np.intp)) == []
    categories = fitted(np.random.default_rng(3).integers(0, BINS, 4000), ordered=False)
    assert {each.test for each in categories} == {"shape"}
