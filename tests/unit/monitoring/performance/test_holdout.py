from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from raymlops.errors import DataError, NotEnoughRows, SchemaMismatch
from raymlops.monitoring import Holdout
from raymlops.monitoring.performance.holdout import MAX_COLUMNS, MAX_ROWS, evenly_spread

ROWS = pa.table({"x": np.arange(20.0), "kind": [f"k{i % 3}" for i in range(20)]})
SCORES, OUTCOMES = np.linspace(0.1, 0.9, 20), np.arange(20) % 2 * 1.0


def test_it_travels_as_bytes(tmp_path: Path) -> None:
    holdout = Holdout.fit("binary", ROWS, SCORES, OUTCOMES, importances={"kind": 2.0, "x": 1.0})
    (tmp_path / "h").write_bytes(holdout.dumps())
    again = Holdout.load(tmp_path / "h")
    assert again.inputs == ("kind", "x")
    assert again.kind == "binary"
    assert again.rows.equals(holdout.rows.combine_chunks())
    assert again.scores.tolist() == SCORES.tolist()
    assert again.outcomes.tolist() == OUTCOMES.tolist()
    assert again.dumps() == holdout.dumps()


def test_rows_without_score_or_outcome_are_left_out() -> None:
    scores, outcomes = SCORES.copy(), OUTCOMES.copy()
    scores[3], outcomes[5] = np.nan, np.inf
    assert Holdout.fit("binary", ROWS, scores, outcomes).rows["x"].to_pylist() == [
        float(i) for i in range(20) if i not in {3, 5}
    ]
    with pytest.raises(NotEnoughRows, match="none of 20"):
        Holdout.fit("binary", ROWS, np.full(20, np.nan), outcomes)


def test_it_is_bounded() -> None:
    rows = 3 * MAX_ROWS
    wide = pa.table({f"c{i}": np.arange(rows, dtype=float) for i in range(MAX_COLUMNS + 5)})
    importances = {f"c{i}": float(i) for i in range(MAX_COLUMNS + 5)}
    holdout = Holdout.fit("regressor", wide, np.ones(rows), np.ones(rows), importances=importances)
    assert holdout.rows.shape == (MAX_ROWS, MAX_COLUMNS)
    assert holdout.inputs[0] == f"c{MAX_COLUMNS + 4}"
    assert "c0" not in holdout.inputs
    assert np.ptp(np.diff(holdout.rows["c9"].to_numpy())) == 0


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(SchemaMismatch, match="20, 19 and 20"):
        Holdout.fit("binary", ROWS, SCORES[1:], OUTCOMES)
    with pytest.raises(SchemaMismatch, match="must not be named"):
        Holdout.fit("binary", ROWS.append_column("score", ROWS["x"]), SCORES, OUTCOMES)


@pytest.mark.parametrize("cut", [0, 10, 500])
def test_other_bytes_are_no_holdout(cut: int) -> None:
    with pytest.raises(DataError, match="holdout must be"):
        Holdout.loads(Holdout.fit("binary", ROWS, SCORES, OUTCOMES).dumps()[:cut])


def test_another_arrow_file_is_no_holdout() -> None:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, ROWS.schema) as writer:
        writer.write_table(ROWS)
    with pytest.raises(DataError, match="of format 1"):
        Holdout.loads(sink.getvalue().to_pybytes())


def test_places_are_spread_evenly() -> None:
    assert evenly_spread(5, 9).tolist() == [0, 1, 2, 3, 4]
    assert evenly_spread(9, 3).tolist() == [0, 3, 6]
