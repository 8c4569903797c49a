"""The probes' account is the default policy's, and the comparison of a loop counts what it says it does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from raymlops.laboratory import LossMatrix, default_policy
from raymlops.laboratory.comparison import ServedModel, compare_loop
from raymlops.laboratory.probed import ProbedWindow
from raymlops.laboratory.simulation import History
from raymlops.laboratory.weighing import weigh_probed
from tests.unit.laboratory.examples import ageing

START = datetime(2024, 1, 1, tzinfo=UTC)
WEEK = timedelta(days=7)


def at(window: float) -> datetime:
    return START + window * WEEK


def probed(matrix: LossMatrix, until: int) -> list[ProbedWindow]:
    """What probes would have shown of a matrix's windows before ``until``."""
    found = []
    for j in range(matrix.oldest, until):
        pairs = [matrix.paired(i, j, j) for i in range(matrix.oldest, j + 1)]
        found.append(
            ProbedWindow(
                start=at(j),
                end=at(j + 1),
                at=at(j + 1),
                rows=matrix.rows(j),
                loss=float(matrix.losses(j, j).mean()),
                probes=tuple(at(i) for i in range(matrix.oldest, j + 1)),
                regrets=tuple(pair.mean for pair in pairs),
                errors=tuple(pair.standard_error for pair in pairs),
            )
        )
    return found


def noisy(seed: int, count: int = 14) -> LossMatrix:
    rng = np.random.default_rng(seed)
    base = {j: rng.exponential(1.0, 40) for j in range(3, 3 + count)}
    slope = rng.uniform(0, 0.1)
    losses = {
        (i, j): base[j] + slope * (j - i) + rng.normal(0, 0.2, 40) for j in range(3, 3 + count) for i in range(3, j + 1)
    }
    return LossMatrix.from_losses(losses, first=6)


@pytest.mark.parametrize("seed", range(6))
def test_the_account_of_probes_is_what_the_policy_weighs_in_simulation(seed: int) -> None:
    matrix, policy = noisy(seed), default_policy(0.05)
    for window in range(8, matrix.end):
        for serving in (6, 7, window - 1):
            expected = policy.weigh(History(matrix, window, serving))
            found = weigh_probed(probed(matrix, window), trained_at=at(serving), price=0.05)
            assert found is not None
            assert found.pays == expected.retrain
            assert (found.expected, found.accrued, found.bar) == pytest.approx(
                (expected.expected, expected.accrued, expected.bar)
            )


@pytest.mark.parametrize(("days", "window"), [(-2, 7), (0, 7), (1, 7), (3, 7), (4, 8)])
def test_the_nearest_probe_stands_for_a_champion(days: int, window: int) -> None:
    matrix = ageing(8)
    found = weigh_probed(probed(matrix, matrix.end), trained_at=at(7) + timedelta(days=days), price=0.05)
    assert found is not None
    assert found.age_windows == matrix.end - window


def test_there_is_no_account_without_windows_or_of_a_champion_that_is_newer() -> None:
    matrix = ageing(8)
    shown = probed(matrix, 8)
    assert weigh_probed([], trained_at=at(3), price=0.05) is None
    assert weigh_probed(shown, trained_at=None, price=0.05) is None
    assert weigh_probed(shown, trained_at=at(8), price=0.05) is None
    assert weigh_probed(shown, trained_at=at(7), price=0.05) is not None


def test_a_champion_older_than_all_probes_counts_as_the_oldest() -> None:
    found = weigh_probed(probed(ageing(8), 8), trained_at=at(-20), price=0.05)
    assert found is not None
    assert found.age_windows == 5


def test_a_window_that_was_not_probed_leaves_a_gap() -> None:
    matrix = ageing(9)
    shown = [window for window in probed(matrix, 12) if window.start != at(8)]
    found = weigh_probed(shown, trained_at=at(5), price=0.05)
    assert found is not None
    assert found.age_windows == 7
    assert found.pays


def test_a_loop_is_compared_with_as_many_retrainings() -> None:
    matrix = ageing(12, slope=0.1)  # windows 3 to 14
    served = [
        ServedModel(since=at(3), trained_at=at(3)),
        ServedModel(since=at(8), trained_at=at(7)),
        ServedModel(since=at(11), trained_at=at(11)),
    ]
    found = compare_loop(probed(matrix, 15), served, price=0.05)
    assert found is not None
    assert found.never.by_window == pytest.approx([1 + 0.1 * age for age in range(12)])
    assert found.loop.by_window == pytest.approx([1 + 0.1 * age for age in (*range(5), *range(1, 4), *range(4))])
    assert (found.loop.retrainings, found.calendar.retrainings, found.best.retrainings) == (2, 2, 2)
    assert found.calendar.by_window == pytest.approx([1 + 0.1 * (age % 4) for age in range(12)])
    assert found.best.loss <= found.calendar.loss < found.loop.loss < found.never.loss
    assert found.loop.below_never == pytest.approx(1 - found.loop.loss / found.never.loss)
    assert found.figures()["a calendar of as many"] == f"{found.calendar.below_never:.1%} with 2 retrainings"
    lines = found.lines([(at(j), 2.0) for j in range(2, 6)])
    assert lines["calendar of 2, by the probes"] == ((at(3), 2.0), (at(4), 2.0), (at(5), 2.0))
    assert set(lines) == {"calendar of 2, by the probes", "oracle, by the probes"}
    assert found.oracle.loss + 0.05 * found.oracle.retrainings / 12 <= found.best.loss + 0.05 * 2 / 12


def test_a_comparison_begins_with_the_first_champion_and_needs_three_windows() -> None:
    matrix = ageing(12)
    shown = probed(matrix, 15)
    found = compare_loop(shown, [ServedModel(since=at(6), trained_at=at(6))], price=0.05)
    assert found is not None
    assert found.starts[0] == at(6)
    assert found.loop == found.never.model_copy(update={"name": "the loop"})
    assert compare_loop(shown, [ServedModel(since=at(13), trained_at=at(13))], price=0.05) is None
    assert compare_loop(shown, [], price=0.05) is None


def test_a_change_after_the_middle_of_a_window_counts_from_the_next() -> None:
    shown = probed(ageing(12), 15)
    first = ServedModel(since=at(3), trained_at=at(3))
    early, late = (ServedModel(since=at(8) + timedelta(days=days), trained_at=at(8)) for days in (3, 4))
    one, other = (compare_loop(shown, [first, second], price=0.05) for second in (early, late))
    assert one is not None
    assert other is not None
    assert one.loop.by_window[5] == pytest.approx(1.0)
    assert other.loop.by_window[5] == pytest.approx(1.5)
    assert other.loop.by_window[6] == pytest.approx(1.1)
