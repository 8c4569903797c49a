"""Training on rows in batches: the same trees as in memory, judged as in one piece."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import xgboost
from hypothesis import given, settings
from hypothesis import strategies as st

from raymlops.errors import ConfigError, DataError, NotEnoughRows, SchemaMismatch, StorageError, TrainingError
from raymlops.experiments import Boosting, LearningTask, Slice, evaluate_streamed, fit_streamed, metrics, streamed
from raymlops.experiments.task import matrix, model_inputs, target, with_texts
from raymlops.flavors.protocol import FitRows
from raymlops.flavors.xgboost import FLAVOR

T = datetime(2024, 1, 1, tzinfo=UTC)
BINARY = LearningTask(inputs=("a", "b", "c"))
MULTI = LearningTask(inputs=("a", "b", "c"), classes=3)
VALUE = LearningTask(kind="regressor", inputs=("a", "b", "c"), metric="rmse")


class Batches:
    """A table in batches of a size, an empty one first."""

    def __init__(self, table: pa.Table, size: int) -> None:
        self.table, self.size, self.readings = table, size, 0

    def batches(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        self.readings += 1
        yield self.table.select(columns).slice(0, 0)
        for start in range(0, self.table.num_rows, self.size):
            yield self.table.select(columns).slice(start, self.size)


def table_of(rows: int, task: LearningTask, seed: int = 0) -> pa.Table:
    chance = np.random.default_rng(seed)
    inputs = chance.normal(size=(rows, 3)).round(1)
    signal = inputs[:, 0] - inputs[:, 1] + chance.normal(0, 0.5, rows)
    label: Any = signal
    if task.kind == "classifier":
        label = np.digitize(signal, [0.0] if task.binary else [-1.0, 1.0])
    times = pa.array([T + timedelta(minutes=n) for n in range(rows)], pa.timestamp("us", tz="UTC"))
    named = dict(zip(task.inputs, inputs.T, strict=True))
    return pa.table({**named, "label": label, "event_time": times})


def scorer(booster: Any, task: LearningTask) -> Any:
    def score(inputs: Any) -> Any:
        raw = booster.inplace_predict(inputs.astype(np.float32)).astype(np.float64)
        return np.column_stack([1 - raw, raw]) if task.binary else raw

    return score


@pytest.mark.parametrize("task", [BINARY, MULTI, VALUE], ids=["binary", "multiclass", "regression"])
def test_the_trees_are_those_of_the_rows_in_memory(task: LearningTask, tmp_path: Path) -> None:
    # inputs of few values, so that the bins are the same however the quantiles are sketched
    table = table_of(3000, task)
    source = Batches(table, 700)
    booster = fit_streamed(source, task, Boosting(rounds=8, params={"max_depth": 3}, seed=1), cache=tmp_path)
    assert source.readings == 4  # the first one ends with the types of the columns
    assert booster.feature_names == ["a", "b", "c"]
    assert not list(tmp_path.iterdir())
    inputs = matrix(table, task.inputs).astype(np.float32)
    objective: dict[str, Any] = {"objective": "reg:squarederror"}
    if task.kind == "classifier":
        objective = {"objective": "binary:logistic"} if task.binary else {"objective": "multi:softprob", "num_class": 3}
    whole = xgboost.train(
        {**objective, "max_depth": 3, "seed": 1, "tree_method": "hist", "nthread": 1},
        xgboost.QuantileDMatrix(inputs, table["label"].to_numpy()),
        num_boost_round=8,
    )
    assert np.allclose(booster.inplace_predict(inputs), whole.inplace_predict(inputs), atol=1e-5)


def texts_of(rows: int, task: LearningTask) -> pa.Table:
    """Two texts and a number that is a category; one text comes late, some are missing, one is never there."""
    chance = np.random.default_rng(5)
    city = np.array(["Łódź", "Łódka", "a" * 40 + "1", "a" * 40 + "2", "back\\slash"])[chance.integers(0, 5, rows)]
    city[-3:] = "only at the end"
    plan = chance.integers(0, 4, rows)
    signal = (city == "Łódź") * 2.0 - (plan == 2) + chance.normal(0, 0.3, rows)
    label: Any = signal
    if task.kind == "classifier":
        label = np.digitize(signal, [0.5] if task.binary else [-0.5, 1.0])
    cities = pa.array([None if n % 11 == 0 else str(text) for n, text in enumerate(city)])
    return pa.table({"a": cities, "b": plan, "c": pa.nulls(rows, pa.string()), "label": label})


@pytest.mark.parametrize("task", [BINARY, MULTI, VALUE], ids=["binary", "multiclass", "regression"])
def test_texts_are_learned_as_in_memory(task: LearningTask, tmp_path: Path) -> None:
    task = task.model_copy(update={"categories": ("b",)})
    table = texts_of(2000, task)
    boosting = Boosting(rounds=8, params={"max_depth": 3}, seed=1)
    booster = fit_streamed(Batches(table, 300), task, boosting, cache=tmp_path)
    whole = fit_streamed(Batches(table, 2000), task, boosting, cache=tmp_path)
    frame = model_inputs(table, task)
    kind: Any = "classifier" if task.kind == "classifier" else "regressor"
    answers = FLAVOR.answers(booster, kind, frame)
    assert np.allclose(answers, FLAVOR.answers(whole, kind, frame), atol=1e-6)

    estimator = FLAVOR.families["xgboost"].build({"n_estimators": 8, "max_depth": 3}, seed=1, task=task)
    given = with_texts(task, table.schema)
    FLAVOR.families["xgboost"].fit(estimator, FitRows(frame, target(table, task), None, None), None, given)
    assert np.allclose(answers, FLAVOR.answers(estimator.get_booster(), kind, frame), atol=1e-5)
    scored = evaluate_streamed(
        lambda rows: answers_of(FLAVOR.answers(booster, kind, rows), task), Batches(table, 300), task
    )
    assert scored["rows"] == 2000


def answers_of(raw: Any, task: LearningTask) -> Any:
    return np.column_stack([1 - raw, raw]) if task.binary else raw


def test_a_text_with_a_value_for_every_row_is_no_category(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streamed, "_MOST_CATEGORIES", 100)
    table = table_of(200, BINARY).set_column(0, "a", [[f"row {n}" for n in range(200)]])
    with pytest.raises(DataError, match="'a' must have at most 100 distinct values"):
        fit_streamed(Batches(table, 60), BINARY, Boosting(rounds=2))


def test_a_seed_gives_the_same_bytes() -> None:
    boosting = Boosting(rounds=5, params={"subsample": 0.5}, seed=3)
    source = Batches(table_of(2000, BINARY), 300)
    one, two = (bytes(fit_streamed(source, BINARY, boosting).save_raw("ubj")) for _ in range(2))
    assert one == two
    other = fit_streamed(source, BINARY, boosting.model_copy(update={"seed": 4}))
    assert bytes(other.save_raw("ubj")) != one


@pytest.mark.parametrize("task", [BINARY, MULTI, VALUE], ids=["binary", "multiclass", "regression"])
@settings(max_examples=15, deadline=None)
@given(size=st.integers(1, 400), rows=st.integers(30, 300))
def test_judged_in_batches_as_in_one_piece(task: LearningTask, size: int, rows: int) -> None:
    table = table_of(rows, task, seed=rows)
    chance = np.random.default_rng(0)
    weights = chance.normal(size=(3, task.classes))

    def score(inputs: Any) -> Any:
        raw = inputs @ weights
        if task.kind == "regressor":
            return raw[:, 0]
        exponent = np.exp(raw)
        return exponent / exponent.sum(axis=1, keepdims=True)

    found = evaluate_streamed(score, Batches(table, size), task)
    expected = metrics(table["label"].to_numpy(), score(matrix(table, task.inputs)), task)
    assert found.pop("rows") == rows
    assert found.keys() == expected.keys()
    assert found == pytest.approx(expected, rel=1e-9, abs=2e-4)


def test_a_slice_is_a_span_of_time_with_labels() -> None:
    table = table_of(100, VALUE)
    table = table.set_column(3, "label", pa.array([None if n % 10 == 0 else float(n) for n in range(100)]))
    part = Slice(Batches(table, 7), "label", start=T + timedelta(minutes=20), end=T + timedelta(minutes=40))
    got = pa.concat_tables(part.batches(["a", "label"]))
    assert got.column_names == ["a", "label"]
    assert got["label"].to_pylist() == [float(n) for n in range(20, 40) if n % 10]
    everything = pa.concat_tables(Slice(Batches(table, 7), "label").batches(["a"]))
    assert everything.num_rows == 90
    with pytest.raises(ConfigError, match="aware"):
        Slice(Batches(table, 7), "label", start=datetime(2024, 1, 1))


@pytest.mark.parametrize(
    ("table", "boosting", "error", "message"),
    [
        (table_of(0, BINARY), Boosting(), NotEnoughRows, "at least one row"),
        (table_of(50, BINARY).set_column(1, "b", [[[1.0]] * 50]), Boosting(), SchemaMismatch, "'b'"),
        (table_of(50, MULTI), Boosting(), DataError, "0 to 1"),
        (table_of(50, BINARY), Boosting(params={"nthread": 4}), ConfigError, "nthread"),
        (table_of(50, BINARY), Boosting(params={"max_bin": 9}), ConfigError, "max_bin"),
        (table_of(50, BINARY), Boosting(params={"max_depth": "deep"}), TrainingError, "not fitted"),
    ],
    ids=["empty", "list", "wrong class", "own thread", "own bins", "refused parameter"],
)
def test_bad_input_is_named(table: pa.Table, boosting: Boosting, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        fit_streamed(Batches(table, 20), BINARY, boosting)


def test_what_reading_raises_comes_out_and_leaves_no_page(tmp_path: Path) -> None:
    class Breaking(Batches):
        def batches(self, columns: Sequence[str]) -> Iterator[pa.Table]:
            yield from super().batches(columns)
            if self.readings == 4:
                raise StorageError("the file is gone")

    with pytest.raises(StorageError, match="gone"):
        fit_streamed(Breaking(table_of(100, BINARY), 10), BINARY, Boosting(rounds=2), cache=tmp_path)
    assert not list(tmp_path.iterdir())


def test_nothing_to_judge_on() -> None:
    with pytest.raises(NotEnoughRows):
        evaluate_streamed(lambda inputs: inputs, Batches(table_of(0, VALUE), 5), VALUE)
