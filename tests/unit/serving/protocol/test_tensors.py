from __future__ import annotations

import math

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from raymlops.errors import DataError
from raymlops.records.learning.datatypes import TEXT
from raymlops.serving.protocol.datatypes import NUMBERS
from raymlops.serving.protocol.tensors import decode_binary, decode_json, encode_binary, encode_json, parse_json

FLOATS = ["FP16", "FP32", "FP64"]
INTEGERS = [name for name in NUMBERS if "INT" in name]


@given(st.sampled_from(sorted(NUMBERS)).flatmap(lambda name: hnp.arrays(NUMBERS[name], hnp.array_shapes(max_dims=2))))
@settings(max_examples=80, deadline=None)
def test_every_number_survives_json_and_bytes(array: np.ndarray) -> None:
    datatype = next(name for name, dtype in NUMBERS.items() if dtype == array.dtype)
    shape = list(array.shape)
    through_json = decode_json("x", datatype, shape, orjson.loads(orjson.dumps(encode_json(array))))
    through_bytes = decode_binary("x", datatype, shape, memoryview(encode_binary(array)))
    np.testing.assert_array_equal(through_json, array.ravel())
    np.testing.assert_array_equal(through_bytes, array.ravel())
    assert through_json.dtype == through_bytes.dtype == array.dtype


@given(st.lists(st.text(max_size=20), max_size=8))
@settings(max_examples=50, deadline=None)
def test_every_text_survives_json_and_bytes(texts: list[str]) -> None:
    array = np.empty(len(texts), dtype=object)
    array[:] = texts
    assert decode_json("x", TEXT, [len(texts)], encode_json(array)).tolist() == texts
    assert decode_binary("x", TEXT, [len(texts)], memoryview(encode_binary(array))).tolist() == texts


@given(hnp.arrays(np.int64, hnp.array_shapes(min_dims=1, max_dims=4)))
@settings(max_examples=50, deadline=None)
def test_flat_and_nested_are_the_same(array: np.ndarray) -> None:
    nested = decode_json("x", "INT64", list(array.shape), array.tolist())
    np.testing.assert_array_equal(nested, decode_json("x", "INT64", list(array.shape), array.ravel().tolist()))


@pytest.mark.parametrize("datatype", FLOATS)
def test_special_floats(datatype: str) -> None:
    values = decode_json("x", datatype, [5], ["NaN", "Infinity", "-Infinity", None, 1])
    np.testing.assert_array_equal(values, np.array([np.nan, np.inf, -np.inf, np.nan, 1], dtype=NUMBERS[datatype]))
    assert encode_json(values) == pytest.approx([math.nan, "Infinity", "-Infinity", math.nan, 1.0], nan_ok=True)
    assert orjson.dumps(encode_json(values[:1])) == b"[null]"


@pytest.mark.parametrize("datatype", [*INTEGERS, "BOOL"])
def test_null_is_a_missing_number(datatype: str) -> None:
    values = decode_json("x", datatype, [2], [None, 1 if datatype != "BOOL" else True])
    np.testing.assert_array_equal(values, [np.nan, 1.0])


def test_null_is_a_missing_text() -> None:
    assert decode_json("x", TEXT, [2], ["a", None]).tolist() == ["a", None]
    assert encode_binary(np.array([None, "a"], dtype=object)) == b"\0\0\0\0\1\0\0\0a"


@pytest.mark.parametrize(
    ("datatype", "shape", "data", "message"),
    [
        ("FP64", [2], [1.0], "needs 2 elements, got 1"),
        ("FP64", [1], 1.0, "must be a list"),
        ("FP64", [1], [True], "must be numbers, got a bool"),
        ("FP64", [1], ["1.0"], "got '1.0'"),
        ("FP64", [1], [[1.0]], "got a list"),
        ("FP64", [1], [{}], "got an object"),
        ("FP64", [2, 2], [[1, 2], [3]], "nested as shape"),
        ("FP64", [2, 2], [[1, 2], 3], "nested as shape"),
        ("FP64", [2, 2], [[1, 2]], "needs 2 elements"),
        ("FP32", [1], [1e300], "range of FP32"),
        ("FP16", [1], [70000], "range of FP16"),
        ("INT8", [1], [128], "range of INT8"),
        ("INT8", [2], [128, None], "range of INT8"),
        ("UINT8", [1], [-1], "range of UINT8"),
        ("INT64", [1], [2**63], "range of INT64"),
        ("INT64", [1], [1.0], "must be integers, got a float"),
        ("INT64", [1], [True], "must be integers, got a bool"),
        ("BOOL", [1], [1], "must be bools, got an integer"),
        ("BYTES", [1], [1], "must be strings, got an integer"),
    ],
)
def test_wrong_data_is_named(datatype: str, shape: list[int], data: object, message: str) -> None:
    with pytest.raises(DataError, match="tensor 'x'") as caught:
        decode_json("x", datatype, shape, data)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("datatype", "shape", "raw", "message"),
    [
        ("FP64", [1], b"\0" * 7, "needs 8 bytes, got 7"),
        ("FP64", [10**15], b"", "needs 8000000000000000 bytes"),
        ("BYTES", [1], b"\1\0\0", "ends inside a length"),
        ("BYTES", [1], b"\2\0\0\0a", "ends inside an element"),
        ("BYTES", [2], b"\1\0\0\0a", "exactly 2 elements"),
        ("BYTES", [1], b"\1\0\0\0a\1\0\0\0a", "exactly 1 elements"),
        ("BYTES", [1], b"\1\0\0\0\xff", "must be UTF-8"),
    ],
)
def test_wrong_bytes_are_named(datatype: str, shape: list[int], raw: bytes, message: str) -> None:
    with pytest.raises(DataError, match="tensor 'x'") as caught:
        decode_binary("x", datatype, shape, memoryview(raw))
    assert message in str(caught.value)


def test_any_nonzero_byte_is_true() -> None:
    assert decode_binary("x", "BOOL", [3], memoryview(b"\0\1\7")).tolist() == [False, True, True]


@pytest.mark.parametrize("body", [b'{"a": NaN}', b'{"a": [Infinity, -Infinity]}'])
def test_bare_words_of_python_clients_are_read(body: bytes) -> None:
    assert parse_json(body).keys() == {"a"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b"{",
        b"\xff",
        b'{"a": NaN, "b": ',
        b'{"a": NaN, "b": "\\ud800"}',
        b'{"a": NaN, "b": 123456789012345678901234567890}',
        b'{"NaN": ' + b"[" * 5000,
        b"[" * 100_000,
    ],
)
def test_what_is_not_a_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(DataError, match="body must be"):
        parse_json(body)
