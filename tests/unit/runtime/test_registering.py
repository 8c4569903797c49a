"""What a model that is registered by hand is watched against."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from sklearn.linear_model import LogisticRegression

from raymlops.clock import ManualClock
from raymlops.errors import DataError, SchemaMismatch
from raymlops.metadata import MetadataService
from raymlops.monitoring import REFERENCE_FILE, Reference
from raymlops.runtime.jobs.operators import ModelOperator

X = np.random.default_rng(2).normal(size=(400, 2))
MODEL = LogisticRegression().fit(X, X[:, 0] > 0)
EXAMPLE = pa.table({"a": X[:, 0], "b": X[:, 1]})


@pytest.fixture
def models(tmp_path: Path) -> Iterator[ModelOperator]:
    clock = ManualClock(datetime(2020, 1, 1, tzinfo=UTC))
    with closing(MetadataService(tmp_path / "metadata.db", clock=clock)) as metadata:
        yield ModelOperator(tmp_path, metadata, clock)


def test_an_example_of_enough_rows_is_what_drift_is_watched_against(models: ModelOperator) -> None:
    version = models.register("churn", MODEL, EXAMPLE.append_column("more", EXAMPLE["a"]).select(["a", "b"]), {}, None)
    assert version.unwatched == ""
    reference = Reference.load(Path(version.path) / REFERENCE_FILE)
    assert (reference.rows, reference.columns) == (400, ("a", "b"))
    moved = pa.table({"a": X[:, 0] + 1.0, "b": X[:, 1]})
    assert reference.compare(reference.profile(moved)).drifted_columns() == ["a"]
    assert models.register("churn", MODEL, EXAMPLE, {}, None).version == version.version
    other = models.register("churn", MODEL, EXAMPLE.slice(0, 200), {}, None)
    assert other.version == 2, "of the same model, but watched against other rows"


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_a_frame_is_an_example(models: ModelOperator, kind: str) -> None:
    frame: Any = pl.from_arrow(EXAMPLE) if kind == "polars" else EXAMPLE.to_pandas()
    version = models.register("churn", MODEL, frame, {}, None)
    assert version.unwatched == ""
    assert Reference.load(Path(version.path) / REFERENCE_FILE).rows == 400


def test_an_example_of_a_few_rows_is_none_and_this_is_told(
    models: ModelOperator, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        version = models.register("churn", MODEL, EXAMPLE.slice(0, 99), {}, None)
    assert not (Path(version.path) / REFERENCE_FILE).exists()
    assert "drift of its inputs is not watched: no training set, and an example of 99 rows; give" in version.unwatched
    assert "model 'churn': drift of its inputs is not watched" in caplog.text
    better = models.register("churn", MODEL, EXAMPLE, {}, None)
    assert (better.version, better.unwatched) == (2, "")


def test_what_is_no_model_is_not_registered(models: ModelOperator, tmp_path: Path) -> None:
    with pytest.raises(SchemaMismatch, match=r"example must be an Arrow table, .* got dict"):
        models.register("churn", MODEL, {"a": [1.0]}, {}, None)
    with pytest.raises(DataError, match="got function"):
        models.register("churn", lambda rows: rows, EXAMPLE, {}, None)
    assert not (tmp_path / "models" / "churn").exists()
