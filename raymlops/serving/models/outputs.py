"""Checks of what a model answered."""

from __future__ import annotations

import numpy as np

from raymlops.errors import DeploymentError, NotFinite
from raymlops.flavors.protocol import Outputs

__all__ = ["check_outputs"]


def check_outputs(outputs: Outputs, rows: int) -> None:
    """Check that outputs are an answer for N rows: the right shapes, all numbers finite.

    Raises:
        NotFinite: A number is NaN or infinite.
        DeploymentError: They are something else.
    """
    try:
        if "value" in outputs:
            fits = outputs["value"].shape == (rows,)
            numbers = outputs["value"]
        else:
            numbers = outputs["probability"]
            fits = numbers.ndim == 2 and numbers.shape[0] == rows and outputs["label"].shape == (rows,)
        finite = fits and bool(np.isfinite(numbers).all())
    except (KeyError, TypeError, AttributeError) as error:
        raise DeploymentError(f"answered something else than outputs: {type(error).__name__}") from error
    if not fits:
        raise DeploymentError(f"answered outputs of the wrong shape for {rows} rows")
    if not finite:
        raise NotFinite("answered NaN or infinity")
