"""Checks of a project's models, fitted on a few rows: that they learn, and that they are the same each time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from raymlops.building.checks.finding import Finding, does_not_apply, failed, passed
from raymlops.errors import DataError, RaymlopsError
from raymlops.experiments.fitting import Fitted, fit_candidate, loss_curve
from raymlops.experiments.metrics import constant_predictions, loss
from raymlops.experiments.searching.search_space import SearchSpace
from raymlops.experiments.task import FloatArray, model_inputs, target
from raymlops.records.learning.tasks import LearningTask

__all__ = ["Models", "loss_falls", "overfits_a_handful", "same_model_twice"]

_MOST_ROWS, _HANDFUL, _MOST_ROUNDS = 1500, 24, 60
_OF_MANY_ROWS = {"early_stopping_rounds", "window_days", "calibration"}
"""Options of a fit that a few rows say nothing about."""
_PER_ROW: Mapping[str, Mapping[str, float]] = {
    "xgboost": {"min_child_weight": 1.0},
    "lightgbm": {"min_child_samples": 5},
}
"""Parameters that count rows, as they are for few of them: a leaf of fifty rows cannot be had from sixty."""
_LOOSE: Mapping[str, Mapping[str, Any]] = {
    "xgboost": {
        "n_estimators": _MOST_ROUNDS,
        "learning_rate": 0.3,
        "max_depth": 6,
        "min_child_weight": 0.0,
        "subsample": 1.0,
        "colsample_bytree": 1.0,
        "reg_lambda": 0.1,
        "reg_alpha": 0.0,
        "gamma": 0.0,
    },
    "lightgbm": {
        "n_estimators": _MOST_ROUNDS,
        "learning_rate": 0.3,
        "min_child_samples": 1,
        "min_child_weight": 0.0,
        "reg_lambda": 0.0,
        "reg_alpha": 0.0,
    },
    "logistic": {"C": 1e4},
}
"""Parameters by which a family of the platform's own learns rows by heart."""
_BY_HEART = {"xgboost": 0.5, "lightgbm": 0.5}
"""Share of the constant baseline's loss that may be left; of other families, which hold back by their nature, 0.98."""

_FALLEN = 0.9999
"""What is left of a loss is less than this share: a constant that is not smoothed beats one that is, by less."""


class Models(NamedTuple):
    """What models are fitted on.

    Attributes:
        frame: Training rows of the sample, in order of time.
        task: What is learned.
        search: The project's families and their ranges.
        seed: The project's.
    """

    frame: pa.Table
    task: LearningTask
    search: Mapping[str, Mapping[str, Any]]
    seed: int

    def parameters(self, family: str) -> dict[str, Any]:
        """One draw of a family's ranges, made to fit few rows."""
        (spec,) = SearchSpace({family: self.search[family]}).sample(self.seed, 1)
        found = {name: value for name, value in spec.params.items() if name not in _OF_MANY_ROWS}
        for name, most in _PER_ROW.get(family, {}).items():
            if isinstance(value := found.get(name), int | float) and value > most:
                found[name] = type(value)(most)
        if isinstance(rounds := found.get("n_estimators"), int):
            found["n_estimators"] = min(rounds, _MOST_ROUNDS)
        return found

    def fit(self, family: str, params: Mapping[str, Any], rows: pa.Table) -> Fitted:
        """A model of a family on rows."""
        return fit_candidate(family, params, seed=self.seed, rows=rows, task=self.task)

    def few(self) -> pa.Table:
        """Rows from all over the sample."""
        most = min(self.frame.num_rows, _MOST_ROWS)
        return self.frame.take(pa.array(np.unique(np.linspace(0, self.frame.num_rows - 1, most).astype(np.int64))))

    def handful(self) -> pa.Table:
        """Rows that differ in their inputs, of every class alike."""
        labels = target(self.frame, self.task)
        texts = [repr(row) for row in self.frame.select(list(self.task.inputs)).to_pylist()]
        first = np.unique(np.array(texts), return_index=True)[1]
        first.sort()
        if self.task.kind == "regressor":
            return self.frame.take(pa.array(first[:_HANDFUL]))
        kinds = np.unique(labels[first])
        each = max(2, _HANDFUL // max(1, len(kinds)))
        places = np.concatenate([first[labels[first] == kind][:each] for kind in kinds])
        return self.frame.take(pa.array(np.sort(places)))


def overfits_a_handful(models: Models) -> Finding:
    """Check that each family of the search can overfit a few rows; one that cannot has a fault in its training."""
    rows, told = models.handful(), []
    labels = target(rows, models.task)
    if len(np.unique(labels)) < 2:
        return does_not_apply(f"the {rows.num_rows} rows of the sample with inputs of their own have one label")
    for family in models.search:
        known = {**models.parameters(family), **_LOOSE.get(family, {})}
        try:
            own, constant = _losses(models, models.fit(family, known, rows), rows)
        except RaymlopsError as error:
            return failed(f"family {family!r} on {rows.num_rows} rows: {error}", _LOOK)
        share = _BY_HEART.get(family, 0.98)
        told.append(f"{family}: loss {own:.4g}, constant baseline {constant:.4g}")
        if not own < share * constant:
            return failed(f"{told[-1]}, on the {rows.num_rows} rows that it was fitted on", _LOOK)
    return passed(f"{'; '.join(told)}, on {rows.num_rows} rows")


def loss_falls(models: Models) -> Finding:
    """Each family's loss on its own rows falls with training, and ends below that of the constant baseline."""
    rows, told = models.few(), []
    if len(np.unique(target(rows, models.task))) < 2:
        return does_not_apply("the rows of the sample have one label")
    for family in models.search:
        try:
            fitted = models.fit(family, models.parameters(family), rows)
            curve = (
                []
                if fitted.seen is not None and not fitted.seen.whole
                else loss_curve(fitted.estimator, rows, models.task)
            )
            own, constant = _losses(models, fitted, rows)
        except RaymlopsError as error:
            return failed(f"family {family!r} on {rows.num_rows} rows: {error}", _SLOWER)
        start, end = (curve[0][1], curve[-1][1]) if len(curve) > 1 else (constant, own)
        told.append(f"{family}: loss {start:.4g} to {end:.4g}, constant baseline {constant:.4g}")
        if not (end < _FALLEN * start and own < constant):
            return failed(f"{told[-1]}, on the {rows.num_rows} rows that it was fitted on: it does not fall", _SLOWER)
    return passed(f"{'; '.join(told)}, on {rows.num_rows} rows")


def same_model_twice(models: Models) -> Finding:
    """Each family, fitted twice on the same rows with the same seed, answers with the same bits."""
    rows = models.few()
    inputs = model_inputs(rows, models.task)
    for family in models.search:
        try:
            params = models.parameters(family)
            one, two = (models.fit(family, params, rows).predict(inputs, models.task) for _ in range(2))
        except RaymlopsError as error:
            return failed(f"family {family!r} on {rows.num_rows} rows: {error}", _LOOK)
        if one.tobytes() != two.tobytes():
            most = float(np.abs(one - two).max())
            told = f"family {family!r}: two trainings answer differently, by up to {most:.3g}"
            return failed(
                told, "draw from random_state alone, which the platform sets: no global seed, clock or order of a set"
            )
    return passed(f"{', '.join(models.search)}: the same answers to {rows.num_rows} rows after two trainings")


def _losses(models: Models, fitted: Fitted, rows: pa.Table) -> tuple[float, float]:
    """Mean loss on rows: the model's, and the constant baseline's.

    Raises:
        DataError: An answer is not finite.
    """
    labels = target(rows, models.task)
    answers: FloatArray = fitted.predict(model_inputs(rows, models.task), models.task)
    if not np.isfinite(answers).all():
        raise DataError(f"{int((~np.isfinite(answers)).sum())} answers are not finite")
    constant = constant_predictions(labels, len(labels), models.task)
    own, nothing = (float(np.mean(loss(labels, each, models.task))) for each in (answers, constant))
    return own, nothing


_LOOK = "look at the inputs (all missing? all alike?), the label, and the parameters of training.search"
_SLOWER = "lower the learning rate, scale the inputs, or look at the label; see training.search"
