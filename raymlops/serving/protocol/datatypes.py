"""The Open Inference Protocol's datatypes, and their types in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from raymlops.records.learning.datatypes import TEXT

__all__ = ["DATATYPE_OF", "NUMBERS", "datatype_of_array"]

NUMBERS: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype("u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}
"""Datatype -> little-endian numpy type, as the binary extension has it."""

DATATYPE_OF = {dtype: name for name, dtype in NUMBERS.items()}
"""Numpy type -> datatype."""


def datatype_of_array(array: npt.NDArray[Any]) -> str:
    """The datatype an array is sent as; everything that is no number is text."""
    return DATATYPE_OF.get(array.dtype, TEXT)
