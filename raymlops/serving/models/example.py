"""The packaged example as a request: decoded, predicted and encoded as a caller's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from raymlops.config.serving import RequestLimits
from raymlops.flavors.protocol import Columns, Outputs
from raymlops.records.learning.datatypes import TEXT, is_integer
from raymlops.serving.models.outputs import check_outputs
from raymlops.serving.protocol.open_inference import decode_infer, encode_infer
from raymlops.serving.protocol.schema import InputSchema
from raymlops.serving.protocol.tensors import encode_json

__all__ = ["answer_example", "example_request"]

_ANY_LENGTH = RequestLimits(text_chars=1 << 40)
"""Texts of any length: their limit is a setting of the platform that serves the model."""


def answer_example(schema: InputSchema, predict: Callable[[Columns], Outputs], columns: Columns) -> Outputs:
    """A model's answer to a request of N rows. The first row is asked by itself, too.

    Args:
        schema: The model's inputs.
        predict: The model.
        columns: N rows.

    Raises:
        RaymlopsError: What a caller would be told.
    """
    first = {name: values[:1] for name, values in columns.items()}
    _answer(schema, predict, first)
    return _answer(schema, predict, columns)


def example_request(schema: InputSchema, columns: Columns) -> bytes:
    """The body of an infer request with N rows."""
    inputs = []
    for name in schema.names:
        datatype = schema.datatypes[name]
        data = _as_sent(datatype, columns[name])
        inputs.append({"name": name, "datatype": datatype, "shape": [len(data)], "data": data})
    return orjson.dumps({"inputs": inputs})


def _answer(schema: InputSchema, predict: Callable[[Columns], Outputs], columns: Columns) -> Outputs:
    asked = decode_infer(example_request(schema, columns), {}, schema, _ANY_LENGTH)
    outputs = predict(asked.columns)
    check_outputs(outputs, asked.rows)
    encode_infer({}, outputs, asked)
    return outputs


def _as_sent(datatype: str, values: npt.NDArray[Any]) -> list[Any]:
    """Values of a column as JSON has them; models hold every number as a float."""
    if datatype == TEXT:
        return list(values)
    if datatype == "BOOL" or is_integer(datatype):
        kind = bool if datatype == "BOOL" else int
        return [None if np.isnan(value) else kind(value) for value in values.tolist()]
    return encode_json(values)
