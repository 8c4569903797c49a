"""Boosted trees on rows that do not fit in memory: read in batches, binned, kept on disk while they are learned."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from raymlops.errors import ConfigError, DataError, NotEnoughRows, TrainingError
from raymlops.experiments.metrics import row_terms
from raymlops.experiments.task import FloatArray, IntArray, model_inputs, target, with_texts
from raymlops.experiments.trial import ParameterValue
from raymlops.flavors.building import FIXED, distinct, vocabulary_of
from raymlops.flavors.xgboost import escaped, mark_escaped
from raymlops.records.learning.tasks import LearningTask
from raymlops.records.record import Record

__all__ = ["Boosting", "RowSource", "Slice", "evaluate_streamed", "fit_streamed"]

_SCORE_BINS = 1 << 16
"""Scores that fall into one of these count as tied in the area under the curve."""
_MOST_CATEGORIES = 100_000
"""Distinct values of one input; a column with more names rows, not groups of rows."""
_OWN = FIXED | {"tree_method", "max_bin", "num_class"}
_INSTANT = pa.timestamp("us", tz="UTC")


class RowSource(Protocol):
    """Rows that can be read more than once, each time in the same order and the same batches."""

    def batches(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """All rows, in tables of a bounded number of rows that hold these columns; an empty table may be among them.

        Raises:
            RaymlopsError: they cannot be read.
        """
        ...


class Boosting(Record):
    """How a booster is fitted."""

    params: dict[str, ParameterValue] = Field(default_factory=dict)
    """Of the booster, such as ``max_depth``, ``eta``, ``subsample``."""
    rounds: int = Field(100, ge=1)
    """Trees, or trees per class."""
    max_bin: int = Field(256, ge=2, le=256)
    """Bins per input; a value takes one byte."""
    seed: int = 0
    """Seeds whatever is drawn."""
    threads: int = Field(1, ge=1)
    """With another number, sums may round otherwise."""


class Slice:
    """The rows of a source with ``start <= event_time < end``, and a label.

    Args:
        source: The source of the rows.
        label: Rows without it are left out.
        start: An aware instant; ``None``: from the first row.
        end: An aware instant; ``None``: to the last row.
        time_column: Column that ``start`` and ``end`` are about.
    """

    def __init__(
        self,
        source: RowSource,
        label: str,
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        time_column: str = "event_time",
    ) -> None:
        for name, instant in (("start", start), ("end", end)):
            if instant is not None and instant.utcoffset() is None:
                raise ConfigError(f"{name} must be an aware instant, got {instant!r}")
        self._source, self._label, self._time = source, label, time_column
        self._bounds = [
            (rule, pa.scalar(bound, _INSTANT))
            for rule, bound in ((pc.greater_equal, start), (pc.less, end))
            if bound is not None
        ]

    def batches(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        needed = [*columns, self._label, *([self._time] if self._bounds else [])]
        for batch in self._source.batches(list(dict.fromkeys(needed))):
            kept = pc.is_valid(batch[self._label])
            for rule, bound in self._bounds:
                kept = pc.and_kleene(kept, rule(batch[self._time].cast(_INSTANT), bound))
            yield batch.filter(kept).select(list(columns))


def fit_streamed(rows: RowSource, task: LearningTask, boosting: Boosting, *, cache: Path | None = None) -> Any:
    """Fit a booster by histograms, on binned pages that XGBoost keeps on disk (its external memory).

    The rows are read three times: for their shape, for the quantiles, and to be binned; and once before, for the
    distinct values, where inputs are texts or categories. What stays in memory is one batch, and some 30 bytes a row:
    labels, predictions, gradients, and which leaf a row is in.

    Args:
        rows: The rows to learn from.
        task: Inputs, label and kind; inputs are numbers, bools or texts.
        boosting: How.
        cache: Directory for the pages, which need one byte per row and input; ``None``: a temporary one.

    Returns:
        A booster with the task's inputs as its feature names; one with categories has no names, as after ``fit``.

    Raises:
        ConfigError: A parameter is the platform's.
        SchemaMismatch: A column is missing, or neither a number nor a text.
        DataError: A label is not finite or not one of the classes, or a category has more than 100,000 values.
        NotEnoughRows: There is no row.
        TrainingError: XGBoost refused.
    """
    import xgboost

    own = sorted(_OWN.intersection(boosting.params))
    if own:
        raise ConfigError(f"parameters {own} are set by the platform", parameters=own)
    settings = {**boosting.params, **_objective(task), "tree_method": "hist", "max_bin": boosting.max_bin}
    settings |= {"nthread": boosting.threads, "seed": boosting.seed, "verbosity": 0}
    task = _with_texts_of(rows, task)
    known = _vocabularies(rows, task)
    with tempfile.TemporaryDirectory(prefix="pages-", dir=cache) as pages:
        batches = _batches(rows, task, known, str(Path(pages) / "page"))
        try:
            data = xgboost.ExtMemQuantileDMatrix(
                batches, max_bin=boosting.max_bin, nthread=boosting.threads, enable_categorical=bool(task.categories)
            )
            booster = xgboost.train(settings, data, num_boost_round=boosting.rounds)
            if task.categories:
                mark_escaped(booster)
            return booster
        except xgboost.core.XGBoostError as error:
            if batches.rows == 0:
                raise NotEnoughRows("a fit needs at least one row, got 0") from error
            raise TrainingError(f"the booster was not fitted: {str(error).splitlines()[0]}") from error
        finally:
            data = None  # the pages are mapped until it is gone


def evaluate_streamed(score: Callable[[Any], FloatArray], rows: RowSource, task: LearningTask) -> dict[str, float]:
    """The task's metrics over all rows, one batch at a time.

    Args:
        score: Inputs as ``model_inputs`` gives them, [N, inputs] -> probabilities [N, classes], or values [N].
        rows: The rows to judge on.
        task: What was learned.

    Returns:
        As ``metrics``: ``log_loss`` and ``brier``, or ``mae`` and ``rmse``; ``auc`` where there are two classes and
        both were seen, over scores rounded to 1/65,536; and ``rows``.

    Raises:
        NotEnoughRows: There is no row.
    """
    totals: dict[str, float] = {}
    counts = np.zeros((2, _SCORE_BINS), dtype=np.int64)
    seen = 0
    for batch in rows.batches((*task.inputs, task.label)):
        if batch.num_rows == 0:
            continue
        labels = target(batch, task)
        predictions = score(model_inputs(batch, task))
        for name, terms in row_terms(labels, predictions, task).items():
            totals[name] = totals.get(name, 0.0) + float(terms.sum())
        seen += batch.num_rows
        if task.binary:
            _count(counts, predictions[:, 1], labels)
    if seen == 0:
        raise NotEnoughRows("metrics need at least one row, got 0")
    found = {name: total / seen for name, total in totals.items()}
    if "mse" in found:
        found["rmse"] = float(np.sqrt(found.pop("mse")))
    if counts.sum(axis=1).all():
        found["auc"] = _auc(counts)
    return {**found, "rows": float(seen)}


def _objective(task: LearningTask) -> dict[str, object]:
    if task.kind == "regressor":
        return {"objective": "reg:squarederror"}
    if task.binary:
        return {"objective": "binary:logistic"}
    return {"objective": "multi:softprob", "num_class": task.classes}


def _with_texts_of(rows: RowSource, task: LearningTask) -> LearningTask:
    """The task with the texts of the rows among its categories; the first batch tells the types."""
    first = next(iter(rows.batches(task.inputs)), None)
    return task if first is None else with_texts(task, first.schema)


def _vocabularies(rows: RowSource, task: LearningTask) -> dict[str, list[Any]]:
    """The distinct values of each category over all rows, in order."""
    if not task.categories:
        return {}
    found: dict[str, set[Any]] = {name: set() for name in task.categories}
    frame: Any = None
    alone = task.model_copy(update={"inputs": task.categories})
    for batch in rows.batches(task.categories):
        frame = model_inputs(batch, alone)
        for name, values in found.items():
            values.update(distinct(frame[name]))
            if len(values) > _MOST_CATEGORIES:
                rule = f"input {name!r} must have at most {_MOST_CATEGORIES:,} distinct values to be a category"
                raise DataError(f"{rule}, got more: leave it out, or map it to fewer", column=name)
    return {name: vocabulary_of(values, frame[name]) for name, values in found.items()}


def _batches(rows: RowSource, task: LearningTask, known: Mapping[str, Sequence[Any]], cache_prefix: str) -> Any:
    """The rows as XGBoost pulls them; what reading them raises comes out of the call that pulled."""
    import xgboost

    class Batches(xgboost.DataIter):
        def __init__(self) -> None:
            self.rows = 0
            self._reading: Iterator[pa.Table] | None = None
            super().__init__(cache_prefix=cache_prefix)

        def reset(self) -> None:
            self._reading = None

        def next(self, input_data: Callable[..., Any]) -> bool:
            if self._reading is None:
                self._reading, self.rows = rows.batches((*task.inputs, task.label)), 0
            for batch in self._reading:
                if batch.num_rows:
                    self.rows += batch.num_rows
                    inputs = model_inputs(batch, task)
                    if task.categories:
                        inputs, names = escaped(inputs, known), None  # the frame has the names
                    else:
                        inputs, names = inputs.astype(np.float32), list(task.inputs)
                    input_data(data=inputs, label=target(batch, task), feature_names=names)
                    return True
            return False

    return Batches()


def _count(counts: IntArray, scores: FloatArray, labels: FloatArray | IntArray) -> None:
    bins = np.minimum((scores * _SCORE_BINS).astype(np.int64), _SCORE_BINS - 1)
    for label in (0, 1):
        counts[label] += np.bincount(bins[labels == label], minlength=_SCORE_BINS)


def _auc(counts: IntArray) -> float:
    """Share of (positive, negative) pairs in the right order, ties by half; ``counts`` is [label, bin]."""
    negatives, positives = counts.astype(np.float64)
    below = np.cumsum(negatives) - negatives
    return float((positives * (below + negatives / 2)).sum() / (positives.sum() * negatives.sum()))
