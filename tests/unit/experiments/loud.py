"""An estimator that warns while it is fitted."""

from __future__ import annotations

import warnings
from typing import Any

from sklearn.dummy import DummyClassifier


class Loud(DummyClassifier):
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        warnings.warn("something is odd", UserWarning, stacklevel=2)
        return super().fit(X, y)


def estimator() -> Loud:
    return Loud(strategy="prior")
