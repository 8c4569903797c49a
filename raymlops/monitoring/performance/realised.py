"""Realised performance of a version in one window: its answers joined with their labels."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from raymlops.monitoring.performance.holdout import ScoreKind
from raymlops.monitoring.performance.intervals import (
    SMALLEST_PROBABILITY,
    measure_binary,
    measure_multiclass,
    measure_regressor,
)
from raymlops.monitoring.performance.segments import Losses
from raymlops.monitoring.profiles.columns import label_number
from raymlops.monitoring.profiles.profile import SCORE_COLUMN
from raymlops.records.learning.labels import label_text
from raymlops.records.learning.signatures import Signature
from raymlops.records.models import ModelVersion
from raymlops.records.windows import Performance

__all__ = ["VersionRows", "rows_by_version", "score_kind"]

Floats = NDArray[np.float64]
Texts = NDArray[np.object_]


@dataclass(frozen=True)
class VersionRows:
    """N rows that one version answered.

    Attributes:
        kind: What its scores are.
        events: The rows' prediction events.
        scores: N scores; NaN where there is none.
        outcomes: Binary: 1 where the label is the second class; multiclass: 1 where the named class was right;
            regressor: the label. NaN where there is no label that can be read.
        unreadable: Labels that are none of the classes, or no number.
    """

    kind: ScoreKind
    events: pa.Table
    scores: Floats
    outcomes: Floats
    unreadable: int

    def performance(self) -> Performance:
        """Realised performance over the rows with a label."""
        known = np.isfinite(self.outcomes)
        if self.kind == "multiclass":
            return measure_multiclass(self.scores.size, self.outcomes[known] == 1)
        known &= np.isfinite(self.scores)
        measure = measure_binary if self.kind == "binary" else measure_regressor
        performance = measure(self.scores.size, self.scores[known], self.outcomes[known])
        if not known.any():
            return performance
        lean = float(self.scores[known].mean() - self.scores[np.isfinite(self.scores)].mean())
        return performance.model_copy(update={"label_lean": lean})

    def losses(self) -> Losses:
        """The loss of each row; NaN where its label is not known."""
        if self.kind == "multiclass":
            return Losses("error", 1 - self.outcomes)
        if self.kind == "regressor":
            return Losses("squared_error", (self.scores - self.outcomes) ** 2)
        right = np.where(self.outcomes == 1, self.scores, 1 - self.scores)
        losses = -np.log(np.clip(right, SMALLEST_PROBABILITY, 1.0))
        return Losses("log_loss", np.where(np.isfinite(self.outcomes), losses, np.nan))


def score_kind(signature: Signature) -> ScoreKind:
    """The kind of a model's scores."""
    if signature.task == "regressor":
        return "regressor"
    return "binary" if len(signature.classes) == 2 else "multiclass"


def rows_by_version(
    events: pa.Table, labels: list[str | None], failed: NDArray[np.bool_], versions: Mapping[int, ModelVersion]
) -> dict[int, VersionRows]:
    """Part the rows by the version that answered, by number; rows of versions that are not known are left out.

    Args:
        events: N prediction events.
        labels: The N labels' texts, ``None`` where there is none.
        failed: Which of the N predictions failed; they are left out.
        versions: Version -> what the registry knows about it.
    """
    if not events.num_rows:
        return {}
    texts = np.array(labels, dtype=object)
    numbers = events["version"].to_numpy()
    scores = events[SCORE_COLUMN].cast(pa.float64()).to_numpy()
    predicted = np.array(events["label_predicted"].to_pylist(), dtype=object)
    found = {}
    for number in sorted({int(number) for number in numbers} & set(versions)):
        mine = (numbers == number) & ~failed
        signature = versions[number].manifest.signature
        outcomes, unreadable = _outcomes(signature, texts[mine], predicted[mine])
        found[number] = VersionRows(
            score_kind(signature), events.filter(pa.array(mine)), scores[mine], outcomes, unreadable
        )
    return found


def _outcomes(signature: Signature, texts: Texts, predicted: Texts) -> tuple[Floats, int]:
    """Outcomes as numbers, and how many labels could not be read."""
    labelled = np.array([text is not None for text in texts], dtype=np.bool_)
    if signature.task == "regressor":
        values = np.array([math.nan if text is None else label_number(text) for text in texts], dtype=np.float64)
        values[~np.isfinite(values)] = np.nan
        return values, int((labelled & ~np.isfinite(values)).sum())
    classes = [label_text(value) for value in signature.classes]
    known = labelled & np.isin(texts.astype(str), classes)
    if len(classes) == 2:
        right = texts == classes[1]
    else:
        right = np.array([label_text(guess) == text for guess, text in zip(predicted, texts, strict=True)], dtype=bool)
    return np.where(known, right.astype(np.float64), np.nan), int((labelled & ~known).sum())
