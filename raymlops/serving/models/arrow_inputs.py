"""Model inputs as columns of Arrow."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from raymlops.errors import SchemaMismatch
from raymlops.flavors.frames import input_remedy
from raymlops.records.learning.datatypes import TEXT
from raymlops.serving.protocol.datatypes import DATATYPE_OF

__all__ = ["datatype_of_arrow"]


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
        return DATATYPE_OF[np.dtype(dtype.to_pandas_dtype())]
    if pa.types.is_string(dtype) or pa.types.is_large_string(dtype) or pa.types.is_string_view(dtype):
        return TEXT
    rule = f"model input {name!r} must be a number, a bool or a string, got {dtype}"
    raise SchemaMismatch(f"{rule}: {input_remedy(dtype)}", column=name)
