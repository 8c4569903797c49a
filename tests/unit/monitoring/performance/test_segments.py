from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raymlops.monitoring.performance.conditions import condition_mask
from raymlops.monitoring.performance.segments import Losses, declared_segments, worst_segment

COLUMNS = ["a", "b", "kind", "c"]


def draw(rng: np.random.Generator, rows: int) -> tuple[pa.Table, np.ndarray]:
    table = pa.table(
        {
            "a": rng.normal(size=rows),
            "b": rng.integers(0, 4, rows),
            "kind": pa.array([f"k{v}" for v in rng.integers(0, 5, rows)]),
            "c": np.where(rng.random(rows) < 0.2, np.nan, rng.exponential(size=rows)),
        }
    )
    return table, rng.exponential(size=rows)


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["b = 2", "kind = 'k3'", "b = 1 and kind = 'k0'"]))
def test_a_planted_segment_is_found(seed: int, where: str) -> None:
    table, losses = draw(np.random.default_rng(seed), 3000)
    bad = condition_mask(where, table)
    found = worst_segment(table, COLUMNS, Losses("log_loss", losses + 1.5 * bad), min_rows=50)
    assert found is not None
    assert found.significant
    assert not found.declared
    assert found.segment == where
    assert found.rows == bad.sum()
    assert found.excess == pytest.approx(1.5, abs=0.5)
    assert found.interval[0] <= 2.5 <= found.interval[1]


def test_on_noise_no_segment_is_significant_more_often_than_stated() -> None:
    rng, alarms = np.random.default_rng(0), 0
    for trial in range(100):
        table, losses = draw(rng, 500)
        found = worst_segment(table, COLUMNS, Losses("log_loss", losses**2), min_rows=25, significance=0.1, seed=trial)
        assert found is not None
        alarms += found.significant
    assert alarms <= 19  # of 100 at a level of 0.1: more has a chance of 0.002


def test_without_correction_it_would_cry_wolf() -> None:
    rng, alarms = np.random.default_rng(1), 0
    for _ in range(40):
        table, losses = draw(rng, 500)
        found = worst_segment(table, COLUMNS, Losses("log_loss", losses), min_rows=25)
        assert found is not None
        alone, _ = declared_segments([found.segment], table, Losses("log_loss", losses), min_rows=25)
        alarms += bool(alone) and alone[0].significant
    assert alarms > 20


def test_unknown_losses_do_not_count() -> None:
    table, losses = draw(np.random.default_rng(2), 2000)
    losses[::2] = np.nan
    found = worst_segment(table, COLUMNS, Losses("log_loss", losses), min_rows=50)
    assert found is not None
    assert found.rows < 1000
    declared, _ = declared_segments(["kind"], table, Losses("log_loss", losses), min_rows=10)
    assert sum(segment.rows for segment in declared) == 1000


@pytest.mark.parametrize("rows", [0, 1, 99])
def test_small_windows_have_no_worst_segment(rows: int) -> None:
    table, losses = draw(np.random.default_rng(3), rows)
    assert worst_segment(table, COLUMNS, Losses("log_loss", losses), min_rows=50) is None


def test_equal_losses_and_no_columns_have_none() -> None:
    table, losses = draw(np.random.default_rng(4), 500)
    assert worst_segment(table, COLUMNS, Losses("error", np.ones(500)), min_rows=50) is None
    assert worst_segment(table, [], Losses("error", losses), min_rows=50) is None
    assert worst_segment(table, ["absent"], Losses("error", losses), min_rows=50) is None
    assert worst_segment(table, ["b"], Losses("error", losses), min_rows=240) is None


def test_declared_segments_are_judged_against_the_rest() -> None:
    table, losses = draw(np.random.default_rng(5), 3000)
    bad = condition_mask("a > 1", table)
    losses = losses + bad
    found, problems = declared_segments(
        ["b", "a > 1", "a > 99", "speed > 1", "a ~ 3"], table, Losses("log_loss", losses), min_rows=50
    )
    assert [segment.segment for segment in found if segment.significant] == ["a > 1"]
    assert found[0].segment == "a > 1"
    assert found[0].value == pytest.approx(losses[bad].mean())
    assert found[0].excess == pytest.approx(losses[bad].mean() - losses[~bad].mean())
    assert {segment.segment for segment in found[1:]} == {f"b = {value}" for value in range(4)}
    assert len(problems) == 2


def test_declared_segments_are_bounded() -> None:
    table, losses = draw(np.random.default_rng(6), 3000)
    names = [f"a > {value / 100}" for value in range(200)]
    found, _ = declared_segments(names, table, Losses("log_loss", losses), min_rows=10)
    assert len(found) == 50


def test_large_windows_are_looked_at_in_part() -> None:
    table, losses = draw(np.random.default_rng(7), 40_000)
    found = worst_segment(table, COLUMNS, Losses("log_loss", losses), min_rows=50)
    assert found is not None
    assert found.rows < 5000
