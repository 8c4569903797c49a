"""The Open Inference Protocol's datatypes, and their types in NumPy and Arrow."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from raymlops.errors import SchemaMismatch
from raymlops.flavors.frames import input_remedy
from raymlops.records.models import TEXT

__all__ = ["NUMBERS", "datatype_of_array", "datatype_of_arrow", "is_float", "is_integer"]

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

_NAMES = {dtype: name for name, dtype in NUMBERS.items()}


def is_float(datatype: str) -> bool:
    """Whether its elements are floating point."""
    return datatype.startswith("FP")


def is_integer(datatype: str) -> bool:
    """Whether its elements are signed or unsigned integers."""
    return datatype.startswith(("INT", "UINT"))


def datatype_of_array(array: npt.NDArray[Any]) -> str:
    """The datatype an array is sent as; everything that is no number is text."""
    return _NAMES.get(array.dtype, TEXT)


def datatype_of_arrow(name: str, dtype: pa.DataType) -> str:
    """The datatype of a model input of this Arrow type.

    Raises:
        SchemaMismatch: Models take no such type.
    """
    if pa.types.is_dictionary(dtype):
        dtype = dtype.value_type
    if pa.types.is_boolean(dtype):
        return "BOOL"
    if pa.types.is_integer(dtype) or pa.types.is_floating(dtype):
        return _NAMES[np.dtype(dtype.to_pandas_dtype())]
    if pa.types.is_string(dtype) or pa.types.is_large_string(dtype) or pa.types.is_string_view(dtype):
        return TEXT
    rule = f"model input {name!r} must be a number, a bool or a string, got {dtype}"
    raise SchemaMismatch(f"{rule}: {input_remedy(dtype)}", column=name)
