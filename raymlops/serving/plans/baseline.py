"""The declared constant answer of an endpoint, for when no version can answer."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from raymlops.errors import DataError
from raymlops.flavors.protocol import Outputs
from raymlops.records.learning.signatures import Signature
from raymlops.records.plans import Baseline
from raymlops.serving.protocol.schema import labels_array

__all__ = ["check_baseline", "constant_outputs", "declare_baseline"]

_TOLERANCE = 1e-6


def declare_baseline(signature: Signature, declared: float | Sequence[float]) -> Baseline:
    """What a user declared, as a record.

    Args:
        signature: The champion's.
        declared: A regressor's value; a binary classifier's probability of its second class; or the probabilities of
            all classes, in the signature's order.

    Raises:
        DataError: It does not fit the signature.
    """
    if signature.task == "regressor":
        if not isinstance(declared, int | float):
            raise DataError(f"baseline of a regressor must be one number, got {declared!r}")
        baseline = Baseline(value=float(declared))
    elif isinstance(declared, int | float):
        if len(signature.classes) != 2:
            raise DataError(f"baseline must hold a probability for each of {list(signature.classes)}, got {declared!r}")
        baseline = Baseline(probability=(1.0 - declared, float(declared)))
    else:
        baseline = Baseline(probability=tuple(float(share) for share in declared))
    check_baseline(baseline, signature)
    return baseline


def check_baseline(baseline: Baseline, signature: Signature) -> None:
    """Refuse a baseline that is no answer of models with this signature.

    Raises:
        DataError: It is another task's, or not finite, or its probabilities are not one per class and 1 in all.
    """
    if signature.task == "regressor":
        if baseline.value is None or not math.isfinite(baseline.value):
            raise DataError(f"baseline of a regressor must be a finite value, got {baseline.value}")
        return
    shares, classes = baseline.probability, list(signature.classes)
    if len(shares) != len(classes):
        raise DataError(f"baseline must hold a probability for each of {classes}, got {list(shares)}")
    if not all(0 <= share <= 1 for share in shares) or abs(sum(shares) - 1) > _TOLERANCE:
        raise DataError(f"baseline must hold probabilities from 0 to 1 that sum to 1, got {list(shares)}")


def constant_outputs(baseline: Baseline, signature: Signature, rows: int) -> Outputs:
    """The baseline as the answer for N rows."""
    if signature.task == "regressor":
        return {"value": np.full(rows, baseline.value, dtype=np.float64)}
    probability = np.tile(np.asarray(baseline.probability, dtype=np.float64), (rows, 1))
    return {"label": labels_array(signature)[probability.argmax(axis=1)], "probability": probability}
