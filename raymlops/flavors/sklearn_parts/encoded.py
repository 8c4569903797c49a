"""Estimators of scikit-learn behind an encoder of categories, and the weights of the inputs that it encoded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from raymlops.flavors.protocol import Array
    from raymlops.records.learning.tasks import LearningTask

__all__ = ["by_input", "one_hot", "ordinal"]

_MOST_COLUMNS = 100
"""Of a category as columns of zeros and ones; rarer ones share a column, and unseen ones are among them."""
_MOST_CODES = 250
"""Of a category as a code; histogram boosting takes 255."""


def one_hot(model: Any, numbers: Any, task: LearningTask) -> Any:
    """A pipeline that gives a model a column for each frequent category.

    Args:
        model: Unfitted.
        numbers: What becomes of the inputs that are numbers: a transformer.
        task: Its categories are encoded.
    """
    from sklearn.preprocessing import OneHotEncoder

    encoder = OneHotEncoder(handle_unknown="infrequent_if_exist", max_categories=_MOST_COLUMNS)
    return _behind(encoder, numbers, model, task)


def ordinal(model: Any, task: LearningTask, *, unseen: float, missing: float) -> Any:
    """A pipeline that gives trees a number for each category.

    Args:
        model: Unfitted.
        task: Its categories are encoded.
        unseen: The code of a category that was not among the rows of the fit.
        missing: The code of a missing one.
    """
    from sklearn.preprocessing import OrdinalEncoder

    encoder = OrdinalEncoder(
        handle_unknown="use_encoded_value",
        unknown_value=unseen,
        encoded_missing_value=missing,
        max_categories=_MOST_CODES,
    )
    return _behind(encoder, "passthrough", model, task)


def _behind(encoder: Any, numbers: Any, model: Any, task: LearningTask) -> Any:
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import make_pipeline

    others = [name for name in task.inputs if name not in task.categories]
    parts = [("categories", encoder, list(task.categories)), ("numbers", numbers, others)]
    return make_pipeline(ColumnTransformer([part for part in parts if part[2]]), model)


def by_input(pipeline: Any, weights: Sequence[float] | Array) -> list[float] | None:
    """The weights of a model behind a ``ColumnTransformer`` as weights of its inputs, in their order.

    Returns:
        ``None`` where it cannot be told which column comes from which input.
    """
    columns, values = pipeline[0], np.asarray(weights, dtype=np.float64)
    names = list(getattr(columns, "feature_names_in_", ()))
    found = dict.fromkeys(names, 0.0)
    if len(pipeline.steps) != 2 or not names:
        return None
    for name, transformer, chosen in columns.transformers_:
        part = values[columns.output_indices_[name]]
        inputs = [each if isinstance(each, str) else names[each] for each in chosen] if len(part) else []
        widths = _widths(transformer, len(inputs), len(part))
        if widths is None:
            return None
        ends = np.cumsum([0, *widths])
        for place, each in enumerate(inputs):
            found[each] += float(part[ends[place] : ends[place + 1]].sum())
    return list(found.values())


def _widths(transformer: Any, inputs: int, outputs: int) -> list[int] | None:
    """How many columns a fitted transformer makes of each of its inputs; ``None`` where it does not tell."""
    if inputs == outputs:
        return [1] * inputs
    if inputs == 1:
        return [outputs]
    listed = getattr(transformer, "categories_", None)
    if listed is None:
        return None
    rare = getattr(transformer, "infrequent_categories_", [None] * inputs)
    widths = [len(k) if r is None else len(k) - len(r) + 1 for k, r in zip(listed, rare, strict=True)]
    return widths if sum(widths) == outputs else None
