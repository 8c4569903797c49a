"""The staleness of the models of one series."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from raymlops.records.shown import shown

__all__ = ["FloatArray", "Staleness"]

FloatArray = npt.NDArray[np.float64]


@shown()
@dataclass(frozen=True)
class Staleness:
    """The staleness of models: how much more each lost in each window than a new one.

    Attributes:
        regrets: ``[model, window]``: mean loss of a model beyond that of the model fitted at the window's start; NaN
            where the model is younger than the window, or where it is not known.
        errors: Their standard errors.
        unit: Mean loss of a window, each by its own model.
    """

    regrets: FloatArray
    errors: FloatArray
    unit: float
