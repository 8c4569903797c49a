"""The Open Inference Protocol over HTTP: JSON and the binary tensor extension.

A request names one tensor per input column, of shape ``[n]`` or ``[n, 1]``, or a single tensor ``features`` of shape
``[n, columns]`` in signature order. Content-Type is not looked at: Triton's client sends none. Whatever is wrong with a
body is a ``DataError`` and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import orjson

from raymlops.config.serving import RequestLimits
from raymlops.errors import DataError
from raymlops.flavors.protocol import Columns, Outputs
from raymlops.records.learning.datatypes import TEXT, is_float
from raymlops.serving.protocol.datatypes import NUMBERS, datatype_of_array
from raymlops.serving.protocol.http import JSON
from raymlops.serving.protocol.matrix_columns import MatrixColumns
from raymlops.serving.protocol.tensors import decode_binary, decode_json, encode_binary, encode_json, parse_json

if TYPE_CHECKING:
    from raymlops.serving.protocol.schema import InputSchema

__all__ = ["BINARY_HEADER", "InferRequest", "check_id", "decode_infer", "encode_infer"]

BINARY_HEADER = "inference-header-content-length"
"""Length of the JSON part of a body that has a binary part."""

FEATURES = "features"
MAX_DIMENSIONS = 8
"""Dimensions of a tensor at most. Inputs have one or two; the product of thousands of sizes would take minutes."""

MAX_ID_CHARS = 256
CHUNK_VALUES = 8_192
"""Written as JSON at once: whoever waits for this thread waits no longer than for so many."""

Array = npt.NDArray[Any]

_LIMITS = RequestLimits()


class InferRequest(NamedTuple):
    """A decoded request.

    Attributes:
        id: As sent; ``None`` where none was.
        columns: Every input column of the model, each of length ``rows``.
        rows: At least 1.
        outputs: Output wanted -> whether as raw bytes; ``None`` wants all.
        binary: Whether outputs that say nothing of their own are sent as raw bytes.
    """

    id: str | None
    columns: Columns
    rows: int
    outputs: dict[str, bool] | None
    binary: bool


class _Tensor(NamedTuple):
    name: str
    datatype: str
    shape: list[int]
    values: Array


def decode_infer(
    body: bytes, headers: Mapping[str, str], schema: InputSchema, limits: RequestLimits = _LIMITS
) -> InferRequest:
    """Read an infer request.

    Args:
        body: As sent.
        headers: Names in lower case.
        schema: Of the model asked.
        limits: What it may hold.

    Raises:
        DataError: Anything is wrong with it; the message names what.
    """
    document, binary_part = _split(body, headers)
    parameters = _object(document.get("parameters"), "parameters")
    tensors = _tensors(document.get("inputs"), binary_part)
    columns, rows = _columns(tensors, schema)
    if not 1 <= rows <= limits.infer_rows:
        raise DataError(f"inputs must hold 1 to {limits.infer_rows} rows, got {rows}")
    if schema.required:
        schema.check_present(columns)
    if schema.texts:
        schema.check_lengths(columns, limits.text_chars)
    binary = parameters.get("binary_data_output", False)
    if type(binary) is not bool:
        raise DataError("parameter 'binary_data_output' must be a bool")
    return InferRequest(
        check_id(document.get("id")), columns, rows, _wanted(document.get("outputs"), schema, binary), binary
    )


def encode_infer(
    head: dict[str, Any], outputs: Outputs, request: InferRequest | None = None
) -> tuple[bytes, dict[str, str]]:
    """Write an infer response.

    Args:
        head: ``model_name``, ``model_version``, ``id``, ``parameters``; gains ``outputs``.
        outputs: What the model answered.
        request: Says which outputs are wanted and how; ``None`` wants all, as JSON.

    Returns:
        The body and its headers.
    """
    wanted = request.outputs if request is not None else None
    binary = request.binary if request is not None else False
    tensors, blobs = [], []
    for name, array in outputs.items():
        if wanted is not None and name not in wanted:
            continue
        tensor: dict[str, Any] = {"name": name, "datatype": datatype_of_array(array), "shape": list(array.shape)}
        if wanted[name] if wanted is not None else binary:
            blob = encode_binary(array)
            tensor["parameters"] = {"binary_data_size": len(blob)}
            blobs.append(blob)
        else:
            tensor["data"] = encode_json(array) if array.size <= CHUNK_VALUES else _in_chunks(array)
        tensors.append(tensor)
    head["outputs"] = tensors
    text = orjson.dumps(head)
    if not blobs:
        return text, {"content-type": JSON}
    headers = {"content-type": "application/octet-stream", BINARY_HEADER: str(len(text))}
    return b"".join((text, *blobs)), headers


def _in_chunks(array: Array) -> orjson.Fragment:
    flat = array.ravel()
    chunks = (encode_json(flat[start : start + CHUNK_VALUES]) for start in range(0, flat.size, CHUNK_VALUES))
    return orjson.Fragment(b"[" + b",".join(orjson.dumps(chunk)[1:-1] for chunk in chunks) + b"]")


def check_id(value: object) -> str | None:
    """A request id as sent; ``None`` where there is none.

    Raises:
        DataError: It is no string, or too long.
    """
    if value is None or value == "":
        return None
    if type(value) is not str or len(value) > MAX_ID_CHARS:
        raise DataError(f"'id' must be a string of at most {MAX_ID_CHARS} characters")
    return value


def _split(body: bytes, headers: Mapping[str, str]) -> tuple[dict[str, Any], memoryview]:
    declared = headers.get(BINARY_HEADER)
    if declared is None:
        return parse_json(body), memoryview(b"")
    length = int(declared) if declared.isascii() and declared.isdecimal() and len(declared) < 16 else -1
    if not 0 <= length <= len(body):
        raise DataError(f"header {BINARY_HEADER} must be at most the body's {len(body)} bytes, got {declared[:50]!r}")
    view = memoryview(body)
    return parse_json(view[:length]), view[length:]


def _object(value: object, what: str) -> dict[str, Any]:
    if value is None:
        return {}
    if type(value) is not dict:
        raise DataError(f"{what!r} must be an object")
    return value


def _tensors(value: object, binary_part: memoryview) -> list[_Tensor]:
    if type(value) is not list or not value:
        raise DataError("'inputs' must be a list of at least one tensor")
    offset, tensors = 0, []
    for item in value:
        if type(item) is not dict:
            raise DataError("'inputs' must hold objects")
        name, datatype = item.get("name"), item.get("datatype")
        if type(name) is not str:
            raise DataError("a tensor's 'name' must be a string")
        if type(datatype) is not str or (datatype not in NUMBERS and datatype != TEXT):
            known = ", ".join((*NUMBERS, TEXT))
            raise DataError(f"tensor {name!r}: datatype must be one of {known}, got {datatype!r}", tensor=name)
        shape = _shape(name, item.get("shape"))
        size = _object(item["parameters"], "parameters").get("binary_data_size") if "parameters" in item else None
        if size is None:
            values = decode_json(name, datatype, shape, item.get("data"))
        else:
            end = _end(name, size, offset, binary_part, item)
            values = decode_binary(name, datatype, shape, binary_part[offset:end])
            offset = end
        tensors.append(_Tensor(name, datatype, shape, values))
    if offset != len(binary_part):
        raise DataError(f"the binary part must hold {offset} bytes, as the tensors say, got {len(binary_part)}")
    return tensors


def _shape(name: str, shape: object) -> list[int]:
    if type(shape) is list and len(shape) <= MAX_DIMENSIONS:
        for size in shape:
            if type(size) is not int or size < 0:
                break
        else:
            return shape
    rule = f"shape must be a list of at most {MAX_DIMENSIONS} integers of at least 0"
    raise DataError(f"tensor {name!r}: {rule}", tensor=name)


def _end(name: str, size: object, offset: int, binary_part: memoryview, item: dict[str, Any]) -> int:
    if type(size) is not int or size < 0:
        raise DataError(f"tensor {name!r}: binary_data_size must be an integer of at least 0", tensor=name)
    if "data" in item:
        raise DataError(f"tensor {name!r}: either data or binary_data_size, got both", tensor=name)
    if offset + size > len(binary_part):
        raise DataError(f"tensor {name!r}: the binary part ends before its {size} bytes", tensor=name)
    return offset + size


def _columns(tensors: list[_Tensor], schema: InputSchema) -> tuple[Columns, int]:
    if len(tensors) == 1 and tensors[0].name == FEATURES and FEATURES not in schema.position:
        return _columns_of_matrix(tensors[0], schema)
    columns: dict[str, Array] = {}
    rows = -1
    for name, datatype, shape, values in tensors:
        if name not in schema.position:
            raise DataError(f"input {name!r} is unknown: the model takes {list(schema.names)}", column=name)
        if name in columns:
            raise DataError(f"input {name!r} must be given once", column=name)
        if len(shape) != 1 and (len(shape) != 2 or shape[1] != 1):
            raise DataError(f"input {name!r} must have shape [n] or [n, 1], got {shape}", column=name)
        if rows not in (-1, len(values)):
            raise DataError(f"inputs must have the same n: {rows}, but {name!r} has {len(values)}", column=name)
        rows = len(values)
        columns[name] = values if datatype == schema.datatypes[name] else schema.check_column(name, datatype, values)
    if len(columns) != len(schema.names):
        missing = [name for name in schema.names if name not in columns]
        raise DataError(f"inputs {missing} are missing", columns=missing)
    return columns, rows


def _columns_of_matrix(tensor: _Tensor, schema: InputSchema) -> tuple[Columns, int]:
    _, datatype, shape, values = tensor
    width = len(schema.names)
    if len(shape) != 2 or shape[1] != width:
        raise DataError(f"input {FEATURES!r} must have shape [n, {width}], got {shape}")
    if not is_float(datatype):
        matrix = np.ascontiguousarray(values.reshape(shape).T)
        return {name: schema.check_column(name, datatype, matrix[i]) for i, name in enumerate(schema.names)}, shape[0]
    columns = MatrixColumns(values.reshape(shape), schema.names, schema.position)
    for name in schema.names_not_float:
        schema.check_column(name, datatype, columns[name])
    return columns, shape[0]


def _wanted(value: object, schema: InputSchema, binary: bool) -> dict[str, bool] | None:
    if value is None or value == []:
        return None
    if type(value) is not list or any(type(item) is not dict for item in value):
        raise DataError("'outputs' must be a list of objects")
    wanted = {}
    for item in value:
        name = item.get("name")
        if type(name) is not str or name not in schema.outputs:
            raise DataError(f"output {name!r} is unknown: the model answers {list(schema.outputs)}")
        as_bytes = _object(item.get("parameters"), "parameters").get("binary_data", binary)
        if type(as_bytes) is not bool:
            raise DataError(f"output {name!r}: 'binary_data' must be a bool")
        wanted[name] = as_bytes
    return wanted
