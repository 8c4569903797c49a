"""Pipelines that begin with a vectorizer: they were fitted on a series of texts, and not on a frame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from raymlops.errors import SchemaMismatch
from raymlops.flavors.sklearn_parts.calibrated import inner_estimator

if TYPE_CHECKING:
    from raymlops.flavors.protocol import Array

__all__ = ["takes_texts", "texts_of"]


def takes_texts(estimator: Any) -> bool:
    """Whether a vectorizer is what an estimator's inputs come to first."""
    part = inner_estimator(estimator)
    while not hasattr(part, "build_analyzer"):
        named: Any = getattr(part, "steps", None) or getattr(part, "transformer_list", ())
        parts = [step for _, step in named]
        parts = parts or list(getattr(part, "estimators_", ()))
        if not parts or not hasattr(parts[0], "get_params"):
            return False
        part = inner_estimator(parts[0])
    return True


def texts_of(columns: Any) -> Array:
    """The one column of texts that a vectorizer takes.

    Args:
        columns: Name -> values; a mapping, or a frame of pandas.

    Raises:
        SchemaMismatch: There are several columns, or it is no text.
    """
    names = list(columns)
    texts: Array = np.asarray(columns[names[0]], dtype=object)
    if len(names) > 1 or not all(value is None or isinstance(value, str) for value in texts):
        raise SchemaMismatch(f"the estimator's vectorizer takes one column of texts, got {names}", columns=names)
    return texts
