"""scikit-learn: estimators and pipelines, packaged by skops, which reads listed types only and runs no pickle."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from raymlops.errors import ConfigError, DataError, ModelLoadFailed
from raymlops.flavors.building import check_names, weights_arguments
from raymlops.flavors.frames import Frames, has_texts, is_frame, numbers_of, texts_as_objects
from raymlops.flavors.guard import kind_of
from raymlops.flavors.lightgbm import FLAVOR as LIGHTGBM
from raymlops.flavors.protocol import (
    Description,
    Outcome,
    inputs_of,
    refuse_outputs,
)
from raymlops.flavors.sklearn_parts.calibrated import calibrated_scorer, inner_estimator
from raymlops.flavors.sklearn_parts.canonical_skops import canonical_skops
from raymlops.flavors.sklearn_parts.encoded import by_input, one_hot, ordinal
from raymlops.flavors.sklearn_parts.trusted_types import TRUSTED_TYPES
from raymlops.flavors.sklearn_parts.vectorizers import takes_texts, texts_of
from raymlops.flavors.xgboost import FLAVOR as XGBOOST

if TYPE_CHECKING:
    from raymlops.flavors.protocol import (
        Array,
        FitRows,
        Flavor,
        RoundReport,
        Task,
    )
    from raymlops.records.learning.signatures import Signature
    from raymlops.records.learning.tasks import LearningTask

__all__ = ["FLAVOR", "TRUSTED_TYPES", "ProjectFamily", "SklearnFlavor"]


_THRESHOLDS = ("FixedThresholdClassifier", "TunedThresholdClassifierCV")
"""They name another class than that of the largest probability."""
_BOOSTED: tuple[Any, ...] = (XGBOOST, LIGHTGBM)
_FOLD = "_CalibratedClassifier"
"""In a calibration: holds a fitted estimator, and is itself none."""


class _Predictor:
    dtype = np.float64
    takes_missing = False

    def __init__(self, estimator: Any, signature: Signature, example: pa.Table) -> None:
        from threadpoolctl import ThreadpoolController

        # an estimator encodes texts itself; a booster in a calibration has codes of its own
        self.encoders = _codes_within(estimator, signature, example)
        self.framed = not self.encoders and (hasattr(estimator, "feature_names_in_") or bool(signature.texts))
        if self.framed:
            # a booster in a calibration takes no unseen category, an encoder has a rule of its own for it
            extended = not _within(estimator)
            frames = Frames(example, missing=_missing_text(estimator), extended=extended)
            self._frame: Callable[[Any], Any] = texts_of if takes_texts(estimator) else frames.frame
        self._estimator, self._width = estimator, len(signature.inputs)
        self._answer = _scorer(estimator, signature.task)
        self._openmp = ThreadpoolController().select(user_api="openmp").lib_controllers

    def score(self, inputs: Any) -> Array:
        asked = self._frame(inputs) if self.framed else inputs
        # OpenMP would wake a team of threads for every row; its number of threads is each thread's own
        before = [library.get_num_threads() for library in self._openmp]
        try:
            for library in self._openmp:
                library.set_num_threads(1)
            return self._answer(asked)
        finally:
            for library, threads in zip(self._openmp, before, strict=True):
                library.set_num_threads(threads)

    def importances(self) -> list[float] | None:
        inner = inner_estimator(self._estimator)
        last = inner[-1] if hasattr(inner, "steps") else inner
        values = getattr(last, "feature_importances_", None)
        if values is None and hasattr(last, "coef_"):
            values = np.abs(np.atleast_2d(last.coef_)).mean(axis=0)
        if values is not None and hasattr(inner, "steps") and type(inner[0]).__name__ == "ColumnTransformer":
            return by_input(inner, values)
        return None if values is None or len(values) != self._width else [float(value) for value in values]


class _Family:
    """One class of scikit-learn, or a pipeline around it."""

    def __init__(self, name: str, make: Callable[[dict[str, object], int, LearningTask], Any]) -> None:
        self._name, self._make = name, make

    def build(self, params: Mapping[str, object], *, seed: int, task: LearningTask) -> Any:
        return self._make(dict(params), seed, task)

    def fit(self, estimator: Any, rows: FitRows, report: RoundReport | None, task: LearningTask) -> Outcome:
        del report, task  # it has no rounds to tell of
        given = weights_arguments(estimator, rows.weights)
        stops_early = getattr(estimator, "early_stopping_rounds", None) is not None  # of a project's own XGBoost
        if stops_early and rows.watched is None:
            raise ConfigError("early_stopping_rounds needs validation rows, got none")
        if stops_early:
            given |= {"eval_set": [rows.watched], "verbose": False}
        estimator.fit(rows.inputs, rows.labels, **given)
        return Outcome(int(estimator.best_iteration) + 1 if stops_early else None)


class ProjectFamily(_Family):
    """``module:function``: a function of the project that gives an unfitted estimator or pipeline."""

    def __init__(self, path: str) -> None:
        super().__init__(path, self._of_project)

    def function(self) -> Callable[[], Any]:
        """The project's function.

        Raises:
            ConfigError: It cannot be imported; what was raised is the cause.
        """
        module, _, name = self._name.partition(":")
        try:
            found: Any = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError) as error:
            raise ConfigError(f"family {self._name!r} cannot be imported: {error}", family=self._name) from error
        if not callable(found):
            kind = type(found).__name__
            raise ConfigError(f"family {self._name!r} must be a function, got {kind}", family=self._name)
        function: Callable[[], Any] = found
        return function

    def _of_project(self, params: dict[str, object], seed: int, task: LearningTask) -> Any:
        """What the project's function gives, with the trial's parameters, its seed, and one thread."""
        from sklearn.base import BaseEstimator, is_classifier, is_regressor

        estimator = self.function()()
        fits = is_classifier if task.kind == "classifier" else is_regressor
        if not isinstance(estimator, BaseEstimator) or not fits(estimator):
            rule, kind = f"must give a scikit-learn {task.kind}", type(estimator).__name__
            raise ConfigError(f"family {self._name!r} {rule}, got {kind}", family=self._name)
        known = estimator.get_params()
        check_names(self._name, known, params)
        own: dict[str, object] = {}
        for name in known:
            if name.rpartition("__")[2] in {"random_state", "seed"}:
                own[name] = seed
            elif name.rpartition("__")[2] == "n_jobs":
                owner = known.get(name.rpartition("__")[0], estimator)
                # to scikit-learn, nothing is one thread; to others, all
                if known[name] is not None or not type(owner).__module__.startswith("sklearn"):
                    own[name] = 1
        return estimator.set_params(**own, **params)


class SklearnFlavor:
    """Classifiers and regressors with scikit-learn's interface, of types that are trusted."""

    name = "sklearn"
    file = "model.skops"
    libraries = ("scikit-learn", "scipy", "skops")

    def __init__(self) -> None:
        made = {
            "hist_gradient_boosting": _hist_gradient_boosting,
            "random_forest": _random_forest,
            "logistic": _logistic,
        }
        self.families = {name: _Family(name, make) for name, make in made.items()}
        """``logistic`` is a ridge regression where the task is a regression."""

    def owns(self, estimator: Any) -> bool:
        return any(kind.__module__.startswith("sklearn.") for kind in type(estimator).__mro__)

    def read(self, estimator: Any) -> Any:
        """A search answers as the best that it found; the rest of it, scorers and folds, is not packaged."""
        searched = any(kind.__name__ == "BaseSearchCV" for kind in type(estimator).__mro__)
        return getattr(estimator, "best_estimator_", estimator) if searched else estimator

    def describe(self, estimator: Any, columns: Sequence[str]) -> Description:
        from sklearn.base import BaseEstimator, is_classifier, is_regressor
        from sklearn.exceptions import NotFittedError
        from sklearn.utils.validation import check_is_fitted

        if not isinstance(estimator, BaseEstimator) or not (is_classifier(estimator) or is_regressor(estimator)):
            raise DataError(f"an estimator must be a classifier or a regressor, got {kind_of(estimator)}")
        try:
            check_is_fitted(estimator)
        except NotFittedError as error:
            raise DataError("the estimator must be fitted") from error
        classes: tuple[Any, ...] = ()
        if is_classifier(estimator):
            if not hasattr(estimator, "predict_proba"):
                rule = "a classifier must have predict_proba (CalibratedClassifierCV around it gives one)"
                raise DataError(f"{rule}, {type(estimator).__name__} has none")
            if type(estimator).__name__ in _THRESHOLDS:
                raise DataError(
                    f"the class of the largest probability is answered: register what is in {type(estimator).__name__}"
                )
            if isinstance(estimator.classes_, list):
                refuse_outputs(len(estimator.classes_))
            classes = tuple(value.item() if hasattr(value, "item") else value for value in estimator.classes_)
        names = getattr(estimator, "feature_names_in_", None)
        inputs = inputs_of(None if names is None else list(names), getattr(estimator, "n_features_in_", None), columns)
        task: Task = "classifier" if classes else "regressor"
        return Description(task, inputs, classes, ("scikit-learn", "skops", *_within(estimator)))

    def dump(self, estimator: Any) -> bytes:
        import skops.io

        content: bytes = skops.io.dumps(estimator)
        untrusted = sorted(set(skops.io.get_untrusted_types(data=content)) - TRUSTED_TYPES)
        if untrusted:
            rule = "the estimator must hold trusted types only"
            remedy = "export it to ONNX and register the file (docs/models.md)"
            raise DataError(f"{rule}, got {untrusted}: {remedy}", types=untrusted)
        return canonical_skops(content)

    def parse(self, content: bytes) -> Any:
        import skops.io

        untrusted = sorted(set(skops.io.get_untrusted_types(data=content)) - TRUSTED_TYPES)
        if untrusted:
            raise ModelLoadFailed(f"the file must hold trusted types only, got {untrusted}", types=untrusted)
        return skops.io.loads(content, trusted=sorted(TRUSTED_TYPES))

    def predictor(self, loaded: Any, signature: Signature, example: pa.Table) -> _Predictor:
        return _Predictor(loaded, signature, example)

    def answers(self, estimator: Any, task: Task, frame: Any) -> Array:
        from threadpoolctl import threadpool_limits

        inputs: Any = frame if _missing_text(estimator) is not None else texts_as_objects(frame)
        if takes_texts(estimator):
            inputs = texts_of(frame)
        elif not hasattr(estimator, "feature_names_in_"):
            inputs = self.inputs(estimator, frame)
            inputs = numbers_of(frame) if is_frame(inputs) and not has_texts(frame) else inputs
        with threadpool_limits(limits=1):
            named = estimator.predict(inputs)
            if len(named.shape) > 1 and named.shape[1] > 1:
                refuse_outputs(named.shape[1])
            return np.asarray(estimator.predict_proba(inputs) if task == "classifier" else named)

    def inputs(self, estimator: Any, frame: Any) -> Any:
        inner = inner_estimator(estimator)
        boosted = _boosted(inner)
        return frame if boosted is None else boosted.inputs(inner, frame)

    def staged(
        self, estimator: Any, inputs: Any, task: Task, points: Callable[[int], Sequence[int]]
    ) -> list[tuple[int, Array]]:
        staged = getattr(estimator, "staged_predict_proba" if task == "classifier" else "staged_predict", None)
        if staged is None:
            return []
        everything = list(staged(inputs))
        return [(rounds, everything[rounds - 1]) for rounds in points(len(everything))]

    def save_for_mlflow(self, loaded: Any, options: Mapping[str, Any]) -> None:
        import mlflow.sklearn

        types = sorted(TRUSTED_TYPES)
        mlflow.sklearn.save_model(loaded, serialization_format="skops", skops_trusted_types=types, **options)


def _parts(estimator: Any) -> Iterator[Any]:
    """An estimator, and each estimator in it, at any depth."""
    waiting, seen = [estimator], set[int]()
    while waiting:
        part = waiting.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        if isinstance(part, list | tuple):
            waiting.extend(part)
        elif (hasattr(part, "get_params") and not isinstance(part, type)) or type(part).__name__ == _FOLD:
            yield part
            waiting.extend(vars(part).values())


def _missing_text(estimator: Any) -> float | None:
    """What stands for a missing text: ``None`` where a part of the estimator was fitted with that, else NaN."""
    for part in _parts(estimator):
        held = vars(part)
        if held.get("missing_values", "") is None:
            return None
        if any(known is None for one in held.get("categories_", ()) for known in one):
            return None
    return float("nan")


def _boosted(inner: Any) -> Flavor | None:
    """The flavor of a boosted estimator in a calibration, which takes codes and not categories."""
    return next((flavor for flavor in _BOOSTED if flavor.owns(inner)), None)


def _codes_within(estimator: Any, signature: Signature, example: pa.Table) -> Mapping[int, Mapping[Any, float]]:
    """The codes of a booster in a calibration that was fitted on codes, as a search fits it."""
    inner = inner_estimator(estimator)
    boosted = None if hasattr(estimator, "feature_names_in_") else _boosted(inner)
    if boosted is None:
        return {}
    booster = inner.get_booster() if hasattr(inner, "get_booster") else inner.booster_
    return boosted.predictor(booster, signature, example).encoders


def _within(estimator: Any) -> tuple[str, ...]:
    """The other libraries whose estimators are parts of it."""
    libraries = {type(part).__module__.partition(".")[0] for part in _parts(estimator)}
    return tuple(sorted(libraries & {"xgboost", "lightgbm"}))


def _scorer(estimator: Any, task: Task) -> Callable[[Any], Array]:
    from sklearn.ensemble import (
        ExtraTreesClassifier,
        ExtraTreesRegressor,
        RandomForestClassifier,
        RandomForestRegressor,
    )

    calibrated = calibrated_scorer(estimator)
    if calibrated is not None:
        return calibrated
    forests = (RandomForestClassifier, RandomForestRegressor, ExtraTreesClassifier, ExtraTreesRegressor)
    if type(estimator) in forests and estimator.n_outputs_ == 1 and not hasattr(estimator, "feature_names_in_"):
        return _forest_scorer(estimator, task)
    scorer: Callable[[Any], Array] = estimator.predict_proba if task == "classifier" else estimator.predict
    return scorer


def _forest_scorer(estimator: Any, task: Task) -> Callable[[Any], Array]:
    """The mean over the trees, without the job scheduler that makes one row cost as much as ten thousand."""
    trees = [member.tree_ for member in estimator.estimators_]

    def score(matrix: Array) -> Array:
        single = matrix.astype(np.float32)
        total: Array = trees[0].predict(single)
        for tree in trees[1:]:
            total = total + tree.predict(single)
        mean: Array = total / len(trees)
        return mean if task == "classifier" else mean.reshape(len(matrix))

    return score


def _hist_gradient_boosting(params: dict[str, object], seed: int, task: LearningTask) -> Any:
    from sklearn import ensemble

    classifier = task.kind == "classifier"
    cls = ensemble.HistGradientBoostingClassifier if classifier else ensemble.HistGradientBoostingRegressor
    check_names("hist_gradient_boosting", cls().get_params(), params)
    # its own early stopping would split at random, across time
    model = cls(**{"early_stopping": False, **params}, random_state=seed)
    return ordinal(model, task, unseen=np.nan, missing=np.nan) if task.categories else model


def _random_forest(params: dict[str, object], seed: int, task: LearningTask) -> Any:
    from sklearn import ensemble

    cls = ensemble.RandomForestClassifier if task.kind == "classifier" else ensemble.RandomForestRegressor
    check_names("random_forest", cls().get_params(), params)
    model = cls(**params, n_jobs=1, random_state=seed)
    return ordinal(model, task, unseen=-1, missing=-2) if task.categories else model


def _logistic(params: dict[str, object], seed: int, task: LearningTask) -> Any:
    from sklearn import linear_model
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    cls = linear_model.LogisticRegression if task.kind == "classifier" else linear_model.Ridge
    check_names("logistic", cls().get_params(), params)
    defaults = {"max_iter": 500} if task.kind == "classifier" else {}
    model = cls(**{**defaults, **params}, random_state=seed)
    numbers = (SimpleImputer(strategy="median", keep_empty_features=True), StandardScaler())
    return one_hot(model, make_pipeline(*numbers), task) if task.categories else make_pipeline(*numbers, model)


FLAVOR = SklearnFlavor()
