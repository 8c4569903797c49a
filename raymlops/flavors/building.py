"""What families of estimators share: parameters that the platform sets, and the fit of an estimator without rounds."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from raymlops.errors import ConfigError

if TYPE_CHECKING:
    from raymlops.flavors.protocol import Array

__all__ = ["FIXED", "categorical", "check_names", "distinct", "vocabularies", "vocabulary_of", "weights_arguments"]

FIXED = frozenset({"n_jobs", "nthread", "random_state", "seed", "objective", "eval_metric", "device", "verbosity"})
"""Parameters that the platform sets itself."""


def check_names(family: str, known: Iterable[str], params: Mapping[str, object]) -> None:
    """Refuse parameters that a family does not have.

    Raises:
        ConfigError: There are some; it says which there are.
    """
    names = set(known)
    unknown = sorted(set(params) - names)
    if unknown:
        raise ConfigError(f"family {family!r} has no parameters {unknown}, only {sorted(names - FIXED)}", family=family)


def categorical(values: Array, known: Sequence[Any]) -> Any:
    """Values as a pandas column of known categories; any other value is missing."""
    import pandas as pd

    codes = {value: code for code, value in enumerate(known)}
    return pd.Categorical.from_codes([codes.get(value, -1) for value in values], dtype=pd.CategoricalDtype(list(known)))


def weights_arguments(estimator: Any, weights: Array | None) -> dict[str, Any]:
    """How ``fit`` is told the weights; of a pipeline its last step is.

    Raises:
        ConfigError: The estimator knows no weights.
    """
    from sklearn.utils.validation import has_fit_parameter

    if weights is None:
        return {}
    steps = getattr(estimator, "steps", None)
    last, prefix = (steps[-1][1], f"{steps[-1][0]}__") if steps else (estimator, "")
    if not has_fit_parameter(last, "sample_weight"):
        kind = type(last).__name__
        raise ConfigError(f"class_weight and half_life_days need sample weights, which {kind} has not")
    return {f"{prefix}sample_weight": weights}


def vocabularies(frame: Any, names: Sequence[str]) -> dict[str, list[Any]]:
    """The distinct values of columns, in order: the categories of an estimator that is fitted on the frame."""
    return {name: vocabulary_of(distinct(frame[name]), frame[name]) for name in names}


def distinct(values: Any) -> set[Any]:
    """The distinct values of a column of a frame, whole floats as integers: XGBoost takes no floats as categories."""
    return {_whole(value) for value in values.dropna().unique().tolist()}


def vocabulary_of(found: Collection[Any], column: Any) -> list[Any]:
    """Distinct values in order; of a column without any, one that stands for none: a booster must hold some.

    Args:
        found: Of all rows that are fitted on.
        column: Some of these rows; its dtype tells numbers from texts.
    """
    import pandas as pd

    return sorted(found) or [0 if pd.api.types.is_numeric_dtype(column.dtype) else ""]


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value
