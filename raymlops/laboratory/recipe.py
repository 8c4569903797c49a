"""How the laboratory's models are fitted: one recipe for every table, with nothing to tune."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from raymlops.experiments import estimators
from raymlops.experiments.metrics import loss
from raymlops.experiments.task import FloatArray
from raymlops.flavors import flavor_of
from raymlops.flavors.protocol import FitRows
from raymlops.records.learning.tasks import LearningTask

__all__ = ["BOOSTED_TREES", "Recipe", "Scorer"]

BOOSTED_TREES: Mapping[str, object] = {
    "n_estimators": 120,
    "learning_rate": 0.1,
    "max_depth": 5,
    "min_child_weight": 10,
    "subsample": 0.8,
    "colsample_bytree": 0.6,
    "reg_lambda": 5,
    "max_bin": 64,
}


@dataclass(frozen=True)
class Scorer:
    """A fitted model, and the classes it has seen."""

    estimator: Any
    classes: npt.NDArray[np.int64]
    rows: int
    task: LearningTask

    def losses(self, inputs: npt.NDArray[np.float32], labels: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
        """The task's loss per row; squared error of a regression."""
        regression = self.task.kind == "regressor"
        predictions = self._predict(inputs) if regression else self._probabilities(inputs)
        return loss(labels, predictions, self.task).astype(np.float32)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """All of it as arrays, without code; of the recipe's own boosted trees alone."""
        model = b"" if self.estimator is None else flavor_of(self.estimator).dump(self.estimator)
        return {"model": np.frombuffer(model, np.uint8), "classes": self.classes, "rows": np.array(self.rows)}

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]], recipe: Recipe, task: LearningTask) -> Scorer:
        """The result of ``arrays``, for a task that may have more classes now.

        Args:
            arrays: As ``arrays`` gave them.
            recipe: The recipe of its fit.
            task: Of today.
        """
        model, classes = arrays["model"].tobytes(), arrays["classes"]
        estimator = None
        if model:
            fitted = task.model_copy(update={"classes": max(2, len(classes))})
            estimator = estimators.build(recipe.family, recipe.params, seed=recipe.seed, task=fitted)
            estimator.load_model(bytearray(model))
        return cls(estimator, classes, int(arrays["rows"]), task)

    def _probabilities(self, inputs: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Of all classes; one that was never seen is taken to come as often as one row in all that were."""
        unseen = self.task.classes - len(self.classes)
        each = 1.0 / (self.rows + self.task.classes)
        found = np.full((len(inputs), self.task.classes), each)
        own = 1.0 if self.estimator is None else self._predict(inputs)
        found[:, self.classes] = own * (1.0 - unseen * each)
        clipped: FloatArray = np.clip(found, 1e-6, 1.0)
        return clipped

    def _predict(self, inputs: npt.NDArray[np.float32]) -> FloatArray:
        # estimators take single precision as it is; a copy in double would take twice the memory
        return estimators.predict(self.estimator, cast("FloatArray", inputs), self.task.kind)


@dataclass(frozen=True)
class Recipe:
    """The recipe by which a model is fitted.

    Attributes:
        family: A family of ``experiments``, or ``module:function``.
        params: Its parameters.
        max_rows: A fit takes a sample of so many rows where there are more, drawn by the seed.
        recent_windows: A fit takes the rows whose labels came in so many newest windows, and the newest few of all
            where none came in them; ``None`` takes all.
        seed: Of the sample and of the estimator.
    """

    family: str = "xgboost"
    params: Mapping[str, object] = field(default_factory=lambda: dict(BOOSTED_TREES))
    max_rows: int = 60_000
    recent_windows: int | None = None
    seed: int = 7

    def fit(
        self, inputs: npt.NDArray[np.float32], labels: npt.NDArray[np.float64], task: LearningTask, *, number: int = 0
    ) -> Scorer:
        """Fit one model on one thread.

        Args:
            inputs: ``[rows, inputs]``.
            labels: Class numbers, or values.
            task: What is learned.
            number: Of the model: seeds its sample.

        Raises:
            ConfigError: No such family or parameter.
        """
        if len(labels) > self.max_rows:
            drawn = np.random.default_rng([self.seed, number]).choice(len(labels), self.max_rows, replace=False)
            drawn.sort()
            inputs, labels = inputs[drawn], labels[drawn]
        classes = np.arange(task.classes, dtype=np.int64)
        if task.kind == "classifier":
            seen, numbers = np.unique(labels, return_inverse=True)
            classes, labels = seen.astype(np.int64), numbers.astype(np.float64)
            if len(classes) < 2:
                return Scorer(None, classes, len(labels), task)
        fitted = task.model_copy(update={"classes": max(2, len(classes))})
        estimator = estimators.build(self.family, self.params, seed=self.seed, task=fitted)
        estimators.family_named(self.family).fit(estimator, FitRows(inputs, labels, None, None), None, fitted)
        return Scorer(estimator, classes, len(labels), task)
