"""The families of estimators that a search may draw from.

Everything runs on one thread: trials are what runs in parallel, and a sum over threads is not the same sum twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from raymlops.errors import ConfigError
from raymlops.experiments.task import FloatArray, IntArray, LearningTask, TaskKind

__all__ = ["FAMILIES", "FIXED", "build", "fit", "predict"]

FIXED = frozenset({"n_jobs", "nthread", "random_state", "seed", "objective", "eval_metric", "device", "verbosity"})
"""Parameters that the platform sets itself."""

_EVAL_METRICS = {"log_loss": "logloss", "brier": "rmse", "rmse": "rmse", "mae": "mae"}


def build(family: str, params: Mapping[str, object], *, seed: int, task: LearningTask) -> Any:
    """An unfitted estimator.

    Args:
        family: One of ``FAMILIES``.
        params: Constructor arguments; what is left out has the library's default.
        seed: Seeds whatever the estimator draws.
        task: Says whether it is a classifier or a regressor, of how many classes, and by which metric it stops early.

    Raises:
        ConfigError: No such family or parameter, or the parameter is the platform's.
    """
    if family not in FAMILIES:
        raise ConfigError(f"family must be one of {sorted(FAMILIES)}, got {family!r}", family=family)
    fixed = sorted(FIXED.intersection(params))
    if fixed:
        raise ConfigError(f"parameters {fixed} of family {family!r} are set by the platform", family=family)
    return FAMILIES[family](dict(params), seed, task)


def fit(
    estimator: Any,
    inputs: FloatArray,
    labels: FloatArray | IntArray,
    *,
    valid: tuple[FloatArray, FloatArray | IntArray] | None = None,
) -> int | None:
    """Fit in place, on one thread.

    Args:
        estimator: What ``build`` gave.
        inputs: Shape [rows, inputs].
        labels: Length rows.
        valid: What an estimator with ``early_stopping_rounds`` watches.

    Returns:
        How many rounds of boosting were best, where the estimator stops early; else ``None``.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1):
        if getattr(estimator, "early_stopping_rounds", None) is None:
            estimator.fit(inputs, labels)
            return None
        if valid is None:
            raise ConfigError("early_stopping_rounds needs validation rows, got none")
        estimator.fit(inputs, labels, eval_set=[valid], verbose=False)
        return int(estimator.best_iteration) + 1


def predict(estimator: Any, inputs: FloatArray, kind: TaskKind) -> FloatArray:
    """Predictions as float64: probabilities [rows, classes] of a classifier, values [rows] of a regressor."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1):
        raw = estimator.predict_proba(inputs) if kind == "classifier" else estimator.predict(inputs)
    predictions: FloatArray = raw.astype("float64", copy=False)
    return predictions


def _xgboost(params: dict[str, object], seed: int, task: LearningTask) -> Any:
    import xgboost

    cls = xgboost.XGBClassifier if task.kind == "classifier" else xgboost.XGBRegressor
    metric = "mlogloss" if task.kind == "classifier" and task.classes > 2 else _EVAL_METRICS[task.metric]
    _check_names("xgboost", cls, params)
    return cls(**params, n_jobs=1, random_state=seed, tree_method="hist", eval_metric=metric, verbosity=0)


def _hist_gradient_boosting(params: dict[str, object], seed: int, task: LearningTask) -> Any:
    from sklearn import ensemble

    classifier = task.kind == "classifier"
    cls = ensemble.HistGradientBoostingClassifier if classifier else ensemble.HistGradientBoostingRegressor
    _check_names("hist_gradient_boosting", cls, params)
    # its own early stopping would split at random, across time
    return cls(**{"early_stopping": False, **params}, random_state=seed)


def _random_forest(params: dict[str, object], seed: int, task: LearningTask) -> Any:
    from sklearn import ensemble

    cls = ensemble.RandomForestClassifier if task.kind == "classifier" else ensemble.RandomForestRegressor
    _check_names("random_forest", cls, params)
    return cls(**params, n_jobs=1, random_state=seed)


def _logistic(params: dict[str, object], seed: int, task: LearningTask) -> Any:
    from sklearn import linear_model
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    cls = linear_model.LogisticRegression if task.kind == "classifier" else linear_model.Ridge
    _check_names("logistic", cls, params)
    defaults = {"max_iter": 500} if task.kind == "classifier" else {}
    model = cls(**{**defaults, **params}, random_state=seed)
    return make_pipeline(SimpleImputer(strategy="median", keep_empty_features=True), StandardScaler(), model)


def _check_names(family: str, cls: Any, params: Mapping[str, object]) -> None:
    known = set(cls().get_params())
    unknown = sorted(set(params) - known)
    if unknown:
        raise ConfigError(f"family {family!r} has no parameters {unknown}, only {sorted(known - FIXED)}", family=family)


FAMILIES: dict[str, Callable[[dict[str, object], int, LearningTask], Any]] = {
    "xgboost": _xgboost,
    "hist_gradient_boosting": _hist_gradient_boosting,
    "random_forest": _random_forest,
    "logistic": _logistic,
}
"""Family -> how it is built; ``logistic`` is a ridge regression where the task is a regression."""
