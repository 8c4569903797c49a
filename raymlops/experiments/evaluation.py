"""Evaluation of one model, and the comparison of two on the same rows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from raymlops.errors import ConfigError, DataError
from raymlops.experiments.bootstrap import Interval, Resampling, mean_intervals
from raymlops.experiments.metrics import loss, row_terms
from raymlops.experiments.metrics import metrics as metrics_of
from raymlops.experiments.task import FloatArray, IntArray
from raymlops.records.learning.tasks import LearningTask
from raymlops.records.record import Record

__all__ = ["CalibrationBin", "Comparison", "Evaluation", "Rule", "SliceEvaluation", "compare", "evaluate", "verdict"]

Rule = Literal["better", "not_worse", "absolute"]
_MAX_SLICES = 50


class CalibrationBin(Record):
    """Rows of like prediction: what was said, and what came."""

    rows: int
    predicted: float
    observed: float


class SliceEvaluation(Record):
    """The metric over the rows that share a value of a column."""

    column: str
    value: str
    rows: int
    loss: float
    low: float
    high: float


class Evaluation(Record):
    """The evaluation of a model on one set of rows."""

    rows: int
    loss: float
    """Mean of the task's metric over the rows; of squared errors where that is ``rmse``."""
    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]] = Field(default_factory=dict)
    calibration: tuple[CalibrationBin, ...] = ()
    """Ten bins of equal rows by predicted probability: of class 1, or, of several classes, of the one that is named;
    empty for a regressor."""
    slices: tuple[SliceEvaluation, ...] = ()


class Comparison(Record):
    """Two models on the same rows: mean of (candidate's loss - champion's loss), below 0 where the candidate wins."""

    rows: int
    candidate_loss: float
    champion_loss: float
    difference: Interval
    slices: dict[str, Interval] = Field(default_factory=dict)
    """``COLUMN=VALUE`` -> the difference over those rows."""


def evaluate(
    labels: FloatArray | IntArray,
    predictions: FloatArray,
    *,
    task: LearningTask,
    blocks: IntArray,
    resampling: Resampling,
    slices: Mapping[str, pa.ChunkedArray] | None = None,
    slice_min_rows: int = 200,
) -> Evaluation:
    """Metrics with intervals, calibration and slices; a classifier's have ``ece``, the expected calibration error.

    Args:
        labels: As ``task.target`` gives them.
        predictions: [rows, classes] or [rows].
        task: What was learned.
        blocks: Block number per row, for the intervals.
        resampling: How intervals are drawn.
        slices: Column name -> its values; each value of enough rows is a slice.
        slice_min_rows: Smaller slices are left out.

    Raises:
        NotEnoughRows: There is no row.
        DataError: A prediction is not finite, or the shapes do not fit.
    """
    terms = row_terms(labels, predictions, task)
    drawn = mean_intervals(terms, blocks, resampling)
    intervals = {name: (interval.low, interval.high) for name, interval in drawn.items()}
    if "mse" in intervals:
        low, high = intervals.pop("mse")
        intervals["rmse"] = (math.sqrt(low), math.sqrt(high))
    losses, found = loss(labels, predictions, task), metrics_of(labels, predictions, task)
    bins = _calibration(*_named(labels, predictions, task)) if task.kind == "classifier" else ()
    if bins:
        found["ece"] = sum(each.rows * abs(each.predicted - each.observed) for each in bins) / len(labels)
    return Evaluation(
        rows=len(labels),
        loss=float(losses.mean()),
        metrics=found,
        intervals=intervals,
        calibration=bins,
        slices=tuple(
            SliceEvaluation(column=column, value=value, rows=int(mask.sum()), loss=i.mean, low=i.low, high=i.high)
            for column, value, mask in _masks(slices or {}, slice_min_rows)
            for i in [_masked_interval(losses, mask, blocks, resampling)]
        ),
    )


def compare(
    labels: FloatArray | IntArray,
    candidate: FloatArray,
    champion: FloatArray,
    *,
    task: LearningTask,
    blocks: IntArray,
    resampling: Resampling,
    slices: Mapping[str, pa.ChunkedArray] | None = None,
    slice_min_rows: int = 200,
) -> Comparison:
    """Compare predictions for the same rows, pairwise: what both get wrong alike does not widen the interval.

    Args:
        labels: As ``task.target`` gives them.
        candidate: The candidate's predictions.
        champion: The champion's, or a baseline's.
        task: What was learned.
        blocks: Block number per row.
        resampling: How intervals are drawn.
        slices: Column name -> its values.
        slice_min_rows: Smaller slices are left out.

    Raises:
        NotEnoughRows: There is no row.
        DataError: A prediction is not finite, or the shapes do not fit.
    """
    own, other = loss(labels, candidate, task), loss(labels, champion, task)
    difference = own - other
    masks = _masks(slices or {}, slice_min_rows)
    return Comparison(
        rows=len(labels),
        candidate_loss=float(own.mean()),
        champion_loss=float(other.mean()),
        difference=mean_intervals({"difference": difference}, blocks, resampling)["difference"],
        slices={
            f"{column}={value}": _masked_interval(difference, mask, blocks, resampling) for column, value, mask in masks
        },
    )


def verdict(
    comparison: Comparison, *, rule: Rule, tolerance: float = 0.0, slice_tolerance: float | None = None
) -> tuple[bool, str]:
    """Whether the candidate passes, and why.

    Args:
        comparison: Of the candidate with the champion; with the constant baseline for the rule ``absolute``.
        rule: ``better`` and ``absolute``: the whole interval of the difference lies below ``-tolerance``;
            ``not_worse``: the mean difference is at most ``tolerance``.
        tolerance: In units of the loss.
        slice_tolerance: Fail where the whole interval of a slice's difference lies above it; ``None`` does not look.

    Raises:
        ConfigError: No such rule.
        DataError: The comparison is not finite.
    """
    difference = comparison.difference
    if not all(math.isfinite(value) for value in (difference.mean, difference.low, difference.high)):
        raise DataError(f"a comparison must be finite, got {difference}")
    if rule in {"better", "absolute"}:
        passed, bar = difference.high < -tolerance, f"upper bound below {0.0 - tolerance:.4g}"
    elif rule == "not_worse":
        passed, bar = difference.mean <= tolerance, f"mean at most {tolerance:.4g}"
    else:
        raise ConfigError(f"rule must be 'better', 'not_worse' or 'absolute', got {rule!r}")
    against = "the constant baseline's" if rule == "absolute" else "the champion's"
    reason = (
        f"loss {comparison.candidate_loss:.4f} against {against} {comparison.champion_loss:.4f} on "
        f"{comparison.rows} rows: difference {difference.mean:+.4f} [{difference.low:+.4f}, {difference.high:+.4f}], "
        f"rule {rule!r} asks for {bar}"
    )
    if passed and slice_tolerance is not None:
        worse = [name for name, interval in comparison.slices.items() if interval.low > slice_tolerance]
        if worse:
            return False, f"{reason}; but significantly worse than by {slice_tolerance:.4g} on slices {worse}"
    return passed, reason


def _named(labels: FloatArray | IntArray, predictions: FloatArray, task: LearningTask) -> tuple[FloatArray, FloatArray]:
    """Whether what is predicted came, and its probability."""
    if task.binary:
        return labels.astype(np.float64), predictions[:, 1]
    return (predictions.argmax(axis=1) == labels).astype(np.float64), predictions.max(axis=1)


def _calibration(
    labels: FloatArray | IntArray, probabilities: FloatArray, bins: int = 10
) -> tuple[CalibrationBin, ...]:
    order = np.argsort(probabilities, kind="stable")
    return tuple(
        CalibrationBin(rows=len(part), predicted=float(probabilities[part].mean()), observed=float(labels[part].mean()))
        for part in np.array_split(order, bins)
        if len(part)
    )


def _masks(
    slices: Mapping[str, pa.ChunkedArray], min_rows: int
) -> list[tuple[str, str, np.ndarray[tuple[int], np.dtype[np.bool_]]]]:
    """The slices of enough rows, largest first within a column, at most 50 of them per column."""
    found = []
    for column, values in slices.items():
        codes = pc.dictionary_encode(values, null_encoding="encode").combine_chunks()
        if isinstance(codes, pa.ChunkedArray):
            codes = codes.chunk(0)
        numbers = codes.indices.to_numpy(zero_copy_only=False)
        counts = np.bincount(numbers, minlength=len(codes.dictionary))
        for code in np.argsort(-counts, kind="stable")[:_MAX_SLICES]:
            if counts[code] >= min_rows:
                found.append((column, str(codes.dictionary[int(code)].as_py()), numbers == code))
    return found


def _masked_interval(
    values: FloatArray, mask: np.ndarray[tuple[int], np.dtype[np.bool_]], blocks: IntArray, resampling: Resampling
) -> Interval:
    dense = np.unique(blocks[mask], return_inverse=True)[1].astype(np.int64)
    return mean_intervals({"value": values[mask]}, dense, resampling)["value"]
