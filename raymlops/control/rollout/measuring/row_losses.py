"""The loss of each row of a trial, by task. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from raymlops.control.rollout.measuring.evidence import Floats, Task
from raymlops.errors import DataError
from raymlops.records.learning.labels import label_text

__all__ = ["RowLosses", "given_to", "log_losses", "numbers_of"]

_CLIP = 1e-6
"""Bounds a single row's log loss, so that one confident error does not decide a trial."""

_LARGEST = 1e150
"""Likewise of a squared error, whose square must be a number."""


@dataclass(frozen=True)
class RowLosses:
    """Losses of the answers that were given, and of others to the same rows.

    Attributes:
        task: Decides the loss.
        truth: Labels: numbers, NaN where there is none; of several classes texts, and ``None``.
        own: The loss of the answer that was given; NaN where it, or the label, is missing.
    """

    task: Task
    truth: npt.NDArray[Any]
    own: Floats

    @classmethod
    def of(cls, table: pa.Table, task: Task, positive: str | None) -> RowLosses:
        """The losses of events that have ``score``, ``label_predicted`` and ``label``.

        Raises:
            DataError: A label has no number where the task needs one.
        """
        if task == "multiclass":
            truth = _texts(table["label"].to_pylist())
            return cls(task, truth, _wrong(truth, _texts(table["label_predicted"].to_pylist())))
        truth = _label_numbers(table["label"], task, positive)
        return cls(task, truth, _loss(task, truth, numbers_of(table["score"])))

    def of_answers(self, at: npt.NDArray[np.intp], scores: Floats, labels: Sequence[str | None] | None) -> Floats:
        """The losses that other answers would have had at the rows ``at``."""
        if self.task == "multiclass":
            guesses: Sequence[str | None] = [None] * len(at) if labels is None else labels
            return _wrong(self.truth[at], _texts(guesses))
        return _loss(self.task, self.truth[at], np.asarray(scores, dtype=np.float64))


def given_to(labels: pa.ChunkedArray, probability: npt.NDArray[Any], classes: Sequence[Any]) -> Floats:
    """The probability that a classifier gave to each row's label.

    Args:
        labels: N labels; null where there is none.
        probability: N rows of one probability for each class.
        classes: The labels of the classes, in that order.

    Returns:
        N probabilities: 0 where the label is none of the classes, NaN where there is none.
    """
    places = {label_text(name): place for place, name in enumerate(classes)}
    found = np.full(len(labels), np.nan)
    for row, text in enumerate(_texts(labels.to_pylist())):
        if text is not None:
            found[row] = probability[row, places[text]] if text in places else 0.0
    return found


def numbers_of(values: pa.ChunkedArray) -> Floats:
    """A column as floats, NaN where it is null."""
    return np.asarray(values.cast(pa.float64()).to_numpy(), dtype=np.float64)


def _loss(task: Task, labels: Floats, scores: Floats) -> Floats:
    if task == "regressor":
        with np.errstate(over="ignore"):
            return np.minimum((labels - scores) ** 2, _LARGEST)
    chance = np.clip(scores, _CLIP, 1 - _CLIP)
    return log_losses(np.where(labels == 1.0, chance, 1 - chance)) + 0.0 * labels


def log_losses(of_label: Floats) -> Floats:
    """Of answers that gave such probabilities to what came true; NaN stays NaN."""
    return np.asarray(-np.log(np.clip(of_label, _CLIP, 1 - _CLIP)), dtype=np.float64)


def _wrong(truth: npt.NDArray[Any], guesses: npt.NDArray[Any]) -> Floats:
    pairs = zip(truth, guesses, strict=True)
    return np.array([np.nan if None in pair else float(pair[0] != pair[1]) for pair in pairs], dtype=np.float64)


def _texts(values: Sequence[Any]) -> npt.NDArray[Any]:
    found = np.empty(len(values), dtype=object)
    found[:] = [None if value is None else label_text(value) for value in values]
    return found


def _label_numbers(labels: pa.ChunkedArray, task: Task, positive: str | None) -> Floats:
    if positive is not None:
        return numbers_of(pc.equal(labels.cast(pa.string()), positive).cast(pa.float64()))
    try:
        numbers = numbers_of(labels.cast(pa.float64()))
    except pa.ArrowInvalid as error:
        raise DataError(f"labels of a {task} model must be numbers: {error}") from error
    if task == "binary" and not np.isin(numbers[~np.isnan(numbers)], (0.0, 1.0)).all():
        raise DataError(f"labels of a binary model must be 0 or 1, got {np.unique(numbers)[:5].tolist()}")
    return numbers
