"""The families of estimators that a search may draw from.

A family is one of ``FAMILIES``, or ``module:function``: a function of the project that gives an unfitted scikit-learn
estimator or pipeline. Everything runs on one thread: trials are what runs in parallel, and a sum over threads is not
the same sum twice.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

from raymlops.errors import ConfigError
from raymlops.experiments.options import split_options
from raymlops.experiments.task import FloatArray, LearningTask, TaskKind

__all__ = ["FAMILIES", "FIXED", "build", "check_family", "estimator_function", "predict"]

FIXED = frozenset({"n_jobs", "nthread", "random_state", "seed", "objective", "eval_metric", "device", "verbosity"})
"""Parameters that the platform sets itself."""

_EVAL_METRICS = {"log_loss": "logloss", "brier": "rmse", "rmse": "rmse", "mae": "mae"}


def check_family(family: str) -> None:
    """Refuse what is neither one of ``FAMILIES`` nor has the form of an import path.

    Raises:
        ConfigError: It is not.
    """
    module, separator, name = family.partition(":")
    if family not in FAMILIES and not (separator and module and name):
        raise ConfigError(
            f"family must be one of {sorted(FAMILIES)} or 'module:function', got {family!r}", family=family
        )


def estimator_function(family: str) -> Callable[[], Any]:
    """The project's function behind ``module:function``.

    Raises:
        ConfigError: It cannot be imported; what was raised is the cause.
    """
    module, _, name = family.partition(":")
    try:
        found: Any = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"family {family!r} cannot be imported: {error}", family=family) from error
    if not callable(found):
        raise ConfigError(f"family {family!r} must be a function, got {type(found).__name__}", family=family)
    function: Callable[[], Any] = found
    return function


def build(family: str, params: Mapping[str, object], *, seed: int, task: LearningTask) -> Any:
    """An unfitted estimator.

    Args:
        family: One of ``FAMILIES``, or ``module:function``.
        params: Constructor arguments; what is left out has the library's default. Options of the fit may stand among
            them, see ``experiments.options``.
        seed: Seeds whatever the estimator draws.
        task: Says whether it is a classifier or a regressor, of how many classes, and by which metric it stops early.

    Raises:
        ConfigError: No such family or parameter, or the parameter is the platform's.
    """
    check_family(family)
    own, options = split_options(params)
    options.check(task)
    fixed = sorted(FIXED.intersection(name.rpartition("__")[2] for name in own))
    if fixed:
        raise ConfigError(f"parameters {fixed} of family {family!r} are set by the platform", family=family)
    if family in FAMILIES:
        return FAMILIES[family](own, seed, task)
    return _of_project(family, own, seed, task)


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
    _check_names("xgboost", cls().get_params(), params)
    return cls(**params, n_jobs=1, random_state=seed, tree_method="hist", eval_metric=metric, verbosity=0)


def _hist_gradient_boosting(params: dict[str, object], seed: int, task: LearningTask) -> Any:
    from sklearn import ensemble

    classifier = task.kind == "classifier"
    cls = ensemble.HistGradientBoostingClassifier if classifier else ensemble.HistGradientBoostingRegressor
    _check_names("hist_gradient_boosting", cls().get_params(), params)
    # its own early stopping would split at random, across time
    return cls(**{"early_stopping": False, **params}, random_state=seed)


def _random_forest(params: dict[str, object], seed: int, task: LearningTask) -> Any:
    from sklearn import ensemble

    cls = ensemble.RandomForestClassifier if task.kind == "classifier" else ensemble.RandomForestRegressor
    _check_names("random_forest", cls().get_params(), params)
    return cls(**params, n_jobs=1, random_state=seed)


def _logistic(params: dict[str, object], seed: int, task: LearningTask) -> Any:
    from sklearn import linear_model
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    cls = linear_model.LogisticRegression if task.kind == "classifier" else linear_model.Ridge
    _check_names("logistic", cls().get_params(), params)
    defaults = {"max_iter": 500} if task.kind == "classifier" else {}
    model = cls(**{**defaults, **params}, random_state=seed)
    return make_pipeline(SimpleImputer(strategy="median", keep_empty_features=True), StandardScaler(), model)


def _of_project(family: str, params: dict[str, object], seed: int, task: LearningTask) -> Any:
    """What the project's function gives, with the trial's parameters, its seed, and one thread."""
    from sklearn.base import BaseEstimator, is_classifier, is_regressor

    estimator = estimator_function(family)()
    fits = is_classifier if task.kind == "classifier" else is_regressor
    if not isinstance(estimator, BaseEstimator) or not fits(estimator):
        kind = type(estimator).__name__
        raise ConfigError(f"family {family!r} must give a scikit-learn {task.kind}, got {kind}", family=family)
    known = estimator.get_params()
    _check_names(family, known, params)
    own: dict[str, object] = {}
    for name in known:
        if name.rpartition("__")[2] in {"random_state", "seed"}:
            own[name] = seed
        elif name.rpartition("__")[2] == "n_jobs":
            owner = known.get(name.rpartition("__")[0], estimator)
            # to scikit-learn, nothing is one thread; to XGBoost, all
            if known[name] is not None or type(owner).__module__.startswith("xgboost"):
                own[name] = 1
    return estimator.set_params(**own, **params)


def _check_names(family: str, known: Mapping[str, object], params: Mapping[str, object]) -> None:
    unknown = sorted(set(params) - set(known))
    if unknown:
        raise ConfigError(
            f"family {family!r} has no parameters {unknown}, only {sorted(set(known) - FIXED)}", family=family
        )


FAMILIES: dict[str, Callable[[dict[str, object], int, LearningTask], Any]] = {
    "xgboost": _xgboost,
    "hist_gradient_boosting": _hist_gradient_boosting,
    "random_forest": _random_forest,
    "logistic": _logistic,
}
"""Family -> how it is built; ``logistic`` is a ridge regression where the task is a regression."""
