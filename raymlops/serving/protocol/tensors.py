"""Tensors of the Open Inference Protocol: JSON data and raw bytes to numpy, and back.

JSON has no NaN and no infinity. Here ``null`` is NaN (a missing value) in any numeric tensor, and ``"NaN"``,
``"Infinity"`` and ``"-Infinity"`` are read in floating tensors, as are the bare words that Python clients write.
Answers write NaN as ``null`` and the infinities as strings.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from raymlops.errors import DataError
from raymlops.records.learning.datatypes import TEXT, is_float
from raymlops.serving.protocol.datatypes import NUMBERS

__all__ = ["decode_binary", "decode_json", "encode_binary", "encode_json", "parse_json", "texts_array"]

Array = npt.NDArray[Any]

_LENGTH = struct.Struct("<I")
_ONE = ([1], [1, 1])
_SPECIAL = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_BOOLS: frozenset[type] = frozenset({bool, type(None)})
_INTEGERS: frozenset[type] = frozenset({int, type(None)})
_FLOATS: frozenset[type] = frozenset({int, float, str, type(None)})
_PLAIN: frozenset[type] = frozenset({int, float})
_ALLOWED = {name: _BOOLS if name == "BOOL" else _FLOATS if is_float(name) else _INTEGERS for name in NUMBERS}
_WORDS = {type(None): "null", bool: "a bool", int: "an integer", float: "a float", str: "a string", dict: "an object"}


def parse_json(body: bytes | memoryview) -> dict[str, Any]:
    """The JSON object in ``body``.

    Raises:
        DataError: It is not JSON, or not an object.
    """
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        value = _parse_with_constants(bytes(body), error)
    if type(value) is not dict:
        raise DataError("the body must be a JSON object")
    return value


def _parse_with_constants(body: bytes, cause: orjson.JSONDecodeError) -> Any:
    """Read the bare words NaN and Infinity, which Python's json and rapidjson write by default."""
    if b"NaN" not in body and b"Infinity" not in body:
        raise DataError(f"the body must be JSON: {cause}") from cause
    try:
        value = json.loads(body)
        orjson.dumps(value)  # refuses what only Python's parser takes: huge integers, lone surrogates
    except (ValueError, TypeError, RecursionError) as error:
        raise DataError(f"the body must be JSON: {error}") from error
    return value


def decode_json(name: str, datatype: str, shape: Sequence[int], data: object) -> Array:
    """The elements of a tensor sent as JSON, in row-major order, one-dimensional.

    Args:
        name: For messages.
        datatype: ``TEXT`` or one of ``NUMBERS``.
        shape: Checked against ``data``; its product is the result's length.
        data: A flat list, or lists nested as ``shape`` says.

    Returns:
        An array of the datatype's own type; float64 where an integer or a bool is ``null``; objects for text.

    Raises:
        DataError: ``data`` has another shape, or an element of another type or out of range.
    """
    if datatype == "FP64" and shape in _ONE and type(data) is list and len(data) == 1 and type(data[0]) is float:
        return np.array(data)  # one row of one column: what most requests are made of
    values = _flatten(name, shape, data)
    kinds = set(map(type, values))
    if datatype == TEXT:
        if not kinds <= {str, type(None)}:
            _refuse(name, datatype, "strings", kinds - {str, type(None)})
        return texts_array(values)
    allowed = _ALLOWED[datatype]
    if not kinds <= allowed:
        rule = "bools" if datatype == "BOOL" else "numbers" if is_float(datatype) else "integers"
        _refuse(name, datatype, rule, kinds - allowed)
    if is_float(datatype):
        return _floats(name, datatype, values, kinds)
    return _integers(name, datatype, values, kinds)


def _flatten(name: str, shape: Sequence[int], data: object) -> list[Any]:
    if type(data) is not list:
        raise DataError(f"tensor {name!r}: data must be a list", tensor=name)
    nested = len(shape) > 1 and len(data) > 0 and type(data[0]) is list
    expected = shape[0] if nested else math.prod(shape)
    if len(data) != expected:
        raise DataError(f"tensor {name!r}: shape {list(shape)} needs {expected} elements, got {len(data)}", tensor=name)
    if not nested:
        return data
    rows: list[Any] = data
    for width in shape[1:]:
        if any(type(row) is not list or len(row) != width for row in rows):
            raise DataError(f"tensor {name!r}: data must be nested as shape {list(shape)} says", tensor=name)
        rows = list(chain.from_iterable(rows))
    return rows


def _refuse(name: str, datatype: str, rule: str, kinds: set[type]) -> None:
    got = ", ".join(sorted(_WORDS.get(kind, "a list") for kind in kinds))
    raise DataError(f"tensor {name!r}: {datatype} data must be {rule}, got {got}", tensor=name)


def texts_array(values: Sequence[Any]) -> Array:
    """An object array of texts; a missing one is ``None``."""
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _floats(name: str, datatype: str, values: list[Any], kinds: set[type]) -> Array:
    if not kinds <= _PLAIN:
        unknown = [value for value in values if type(value) is str and value not in _SPECIAL]
        if unknown:
            raise DataError(f"tensor {name!r}: {datatype} data must be numbers, got {unknown[0][:50]!r}", tensor=name)
        values = [math.nan if value is None else _SPECIAL.get(value, value) for value in values]
    wide = np.array(values, dtype=np.float64)
    if datatype == "FP64":
        return wide
    with np.errstate(over="ignore"):
        narrow = wide.astype(NUMBERS[datatype])
    if (np.isinf(narrow) & np.isfinite(wide)).any():
        raise DataError(f"tensor {name!r}: data must lie in the range of {datatype}", tensor=name)
    return narrow


def _integers(name: str, datatype: str, values: list[Any], kinds: set[type]) -> Array:
    present = values if type(None) not in kinds else [value for value in values if value is not None]
    try:
        array = np.array(present, dtype=NUMBERS[datatype])
    except OverflowError as error:
        raise DataError(f"tensor {name!r}: data must lie in the range of {datatype}", tensor=name) from error
    if present is values:
        return array
    return np.array([math.nan if value is None else value for value in values], dtype=np.float64)


def decode_binary(name: str, datatype: str, shape: Sequence[int], raw: memoryview) -> Array:
    """The elements of a tensor sent as raw bytes, one-dimensional; a copy, not a view.

    Raises:
        DataError: Bytes are missing or left over, or text is not UTF-8.
    """
    count = math.prod(shape)
    if datatype == TEXT:
        return _split_texts(name, count, raw)
    dtype = NUMBERS[datatype]
    if len(raw) != count * dtype.itemsize:
        raise DataError(
            f"tensor {name!r}: shape {list(shape)} of {datatype} needs {count * dtype.itemsize} bytes, got {len(raw)}",
            tensor=name,
        )
    if datatype == "BOOL":
        bools: Array = np.frombuffer(raw, dtype=np.uint8) != 0
        return bools
    return np.frombuffer(raw, dtype=dtype).copy()


def _split_texts(name: str, count: int, raw: memoryview) -> Array:
    values: list[str] = []
    offset, end = 0, len(raw)
    while offset < end and len(values) < count:
        if end - offset < _LENGTH.size:
            raise DataError(f"tensor {name!r}: binary data ends inside a length", tensor=name)
        (length,) = _LENGTH.unpack_from(raw, offset)
        offset += _LENGTH.size
        if end - offset < length:
            raise DataError(f"tensor {name!r}: binary data ends inside an element", tensor=name)
        try:
            values.append(str(raw[offset : offset + length], "utf-8"))
        except UnicodeDecodeError as error:
            raise DataError(f"tensor {name!r}: BYTES data must be UTF-8", tensor=name) from error
        offset += length
    if offset != end or len(values) != count:
        raise DataError(f"tensor {name!r}: shape needs exactly {count} elements, got {len(values)}", tensor=name)
    return texts_array(values)


def encode_json(array: Array) -> list[Any]:
    """The elements as JSON values, in row-major order, flat."""
    values: list[Any] = array.ravel().tolist()
    if array.dtype.kind == "f" and not math.isfinite(sum(values)) and np.isinf(array).any():
        return ["Infinity" if value == math.inf else "-Infinity" if value == -math.inf else value for value in values]
    return values


def encode_binary(array: Array) -> bytes:
    """The elements as raw little-endian bytes; text as length and UTF-8 each, a missing one as the empty string."""
    if array.dtype.kind != "O":
        return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).tobytes()
    texts = [b"" if value is None else str(value).encode() for value in array.ravel()]
    return b"".join(part for text in texts for part in (_LENGTH.pack(len(text)), text))
