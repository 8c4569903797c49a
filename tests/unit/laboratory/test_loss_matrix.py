"""The matrix: what it holds, what it refuses, what is known when."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from raymlops.errors import DataError, NotEnoughRows, NotFoundError
from raymlops.laboratory import LossMatrix, MatrixFacts
from tests.unit.laboratory.examples import FIRST, ageing


def test_a_pair_that_is_missing_is_refused() -> None:
    losses = {(3, 3): np.ones(2), (3, 4): np.ones(2)}
    with pytest.raises(DataError, match=r"none of \(4, 4\)"):
        LossMatrix.from_losses(losses, first=3)


def test_a_loss_that_is_not_finite_is_refused() -> None:
    losses = {(3, 3): np.ones(2), (3, 4): np.array([1, np.nan]), (4, 4): np.ones(2)}
    with pytest.raises(DataError, match=r"losses of \(3, 4\) must be one finite number a row"):
        LossMatrix.from_losses(losses, first=3)


def test_models_must_have_the_same_rows_in_a_window() -> None:
    losses = {(3, 3): np.ones(2), (3, 4): np.ones(2), (4, 4): np.ones(3)}
    with pytest.raises(DataError, match="same rows in window 4"):
        LossMatrix.from_losses(losses, first=3)


@pytest.mark.parametrize("losses", [{}, {(3, 3): np.ones(2)}, {(3, 3): [], (3, 4): [], (4, 4): []}])
def test_a_matrix_of_nothing_is_refused(losses: dict[tuple[int, int], object]) -> None:
    with pytest.raises(NotEnoughRows):
        LossMatrix.from_losses(losses, first=3)


def test_models_of_windows_before_the_first_are_history_and_serve_nobody() -> None:
    losses = {(i, j): np.full(2, 1.0 + j - i) for j in range(1, 6) for i in range(1, j + 1)}
    matrix = LossMatrix.from_losses(losses, first=3)
    assert (matrix.oldest, matrix.windows) == (1, range(3, 6))
    assert matrix.total_rows == 6
    assert matrix.sums.tolist()[0] == [2.0, 4.0, 6.0]
    assert matrix.means_known(3).shape == (2, 2)  # windows 1 and 2 are over when window 3 starts


def test_history_that_has_gaps_is_left_out() -> None:
    losses = {(i, j): np.ones(2) for j in range(3, 6) for i in range(j + 1)}  # nobody scored windows 0 to 2
    assert LossMatrix.from_losses(losses, first=3).oldest == 3


def test_a_label_is_known_only_once_it_has_come() -> None:
    losses = {(3, 3): np.array([1.0, 2.0, 9.0]), (3, 4): np.ones(3), (4, 4): np.ones(3)}
    known = np.array([[0, 2, 3], [0, 0, 3]])
    matrix = LossMatrix(losses, first=3, known=known)
    assert matrix.means_known(4).tolist() == [[1.5]]
    assert matrix.means_known(5)[0, 0] == 4.0


def test_prices_are_counted_in_the_loss_of_a_window_with_a_fresh_model() -> None:
    assert ageing(count=5, rows=4).unit == 4.0


def test_a_saved_matrix_comes_back_as_it_was(tmp_path: Path) -> None:
    matrix = LossMatrix(
        {(3, 3): np.ones(2, np.float32), (3, 4): np.ones(1), (4, 4): np.zeros(1)},
        first=3,
        facts=MatrixFacts(metric="brier", fit_s={3: 0.5, 4: 0.25}, drifted=frozenset({(3, 4)}), notes=("a note",)),
    )
    matrix.save(tmp_path / "deep" / "matrix.arrow")
    found = LossMatrix.load(tmp_path / "deep" / "matrix.arrow")
    assert found.facts == matrix.facts
    assert np.array_equal(found.sums, matrix.sums, equal_nan=True)
    assert found.known_rows(3, 4) == 2


def test_what_is_no_matrix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="does not exist"):
        LossMatrix.load(tmp_path / "none.arrow")
    (tmp_path / "text.arrow").write_text("loss")
    with pytest.raises(DataError, match="is not a loss matrix"):
        LossMatrix.load(tmp_path / "text.arrow")


def test_a_frame_has_a_row_for_each_pair() -> None:
    frame = ageing(count=3).to_pandas()
    assert list(frame.columns) == ["model", "window", "age", "rows", "loss"]
    assert frame[frame.age == 2].loss.tolist() == pytest.approx([1.2])
    assert frame.model.min() == FIRST
