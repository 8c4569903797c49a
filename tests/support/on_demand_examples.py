"""On-demand functions, right and wrong, that every process of a cluster can import."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["above_average", "share_of_limit"]


def share_of_limit(columns: Mapping[str, Any]) -> dict[str, Any]:
    """An amount as a share of a limit, row by row."""
    return {"share": columns["purchases__amount"] / columns["limit"]}


def above_average(columns: Mapping[str, Any]) -> dict[str, Any]:
    """An amount less the mean of all rows asked about: wrong, as one row has other values alone."""
    return {"share": columns["purchases__amount"] - np.nanmean(columns["purchases__amount"])}
