from __future__ import annotations

import json
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raymlops.errors import DataError
from raymlops.records.learning.signatures import ColumnSpec, Signature
from raymlops.serving.protocol import open_inference
from raymlops.serving.protocol.open_inference import BINARY_HEADER, decode_infer, encode_infer
from raymlops.serving.protocol.schema import InputSchema
from tests.support.examples import examples

SCHEMA = InputSchema(
    Signature(
        task="classifier",
        inputs=(
            ColumnSpec(name="wind", dtype="FP64"),
            ColumnSpec(name="hour", dtype="INT64"),
            ColumnSpec(name="late", dtype="BOOL"),
            ColumnSpec(name="carrier", dtype="BYTES"),
        ),
        classes=(0, 1),
    )
)
NUMERIC = InputSchema(
    Signature(task="regressor", inputs=(ColumnSpec(name="a", dtype="FP64"), ColumnSpec(name="b", dtype="INT32")))
)
OUTPUTS = {"label": np.array([1, 0]), "probability": np.array([[0.25, 0.75], [0.5, 0.5]])}


def tensor(name: str, datatype: str, data: list[Any], shape: list[int] | None = None) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": [len(data)] if shape is None else shape, "data": data}


def body(**changes: Any) -> dict[str, Any]:
    columns = {
        "wind": tensor("wind", "FP64", [1.5, None]),
        "hour": tensor("hour", "INT64", [7, 8], [2, 1]),
        "late": tensor("late", "BOOL", [True, False]),
        "carrier": tensor("carrier", "BYTES", ["AA", "UA"]),
    }
    top = {key: changes.pop(key) for key in ("id", "parameters", "outputs") if key in changes}
    columns.update(changes)
    return {"inputs": [column for column in columns.values() if column is not None], **top}


def decode(document: Any, schema: InputSchema = SCHEMA, headers: dict[str, str] | None = None) -> Any:
    return decode_infer(orjson.dumps(document), headers or {}, schema)


def test_one_tensor_per_column() -> None:
    request = decode(body(id="r1"))
    assert (request.id, request.rows, request.outputs, request.binary) == ("r1", 2, None, False)
    np.testing.assert_array_equal(request.columns["wind"], [1.5, np.nan])
    assert request.columns["hour"].tolist() == [7, 8]
    assert request.columns["late"].tolist() == [True, False]
    assert request.columns["carrier"].tolist() == ["AA", "UA"]


def test_one_tensor_of_all_columns() -> None:
    request = decode({"inputs": [tensor("features", "FP32", [[1, 2], [3, None]], [2, 2])]}, NUMERIC)
    assert request.columns["a"].tolist() == [1, 3]
    np.testing.assert_array_equal(request.columns["b"], [2, np.nan])


def test_a_column_named_features_is_a_column() -> None:
    schema = InputSchema(Signature(task="regressor", inputs=(ColumnSpec(name="features", dtype="FP64"),)))
    assert decode({"inputs": [tensor("features", "FP64", [1.0])]}, schema).columns["features"].tolist() == [1.0]


@pytest.mark.parametrize(
    ("name", "datatype", "data"),
    [("wind", "INT8", [1, 2]), ("wind", "FP16", [1, 2]), ("hour", "FP64", [7.0, None]), ("late", "INT8", [0, 1])],
)
def test_numbers_that_fit_are_taken(name: str, datatype: str, data: list[Any]) -> None:
    assert decode(body(**{name: tensor(name, datatype, data)})).rows == 2


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({}, "'inputs' must be a list"),
        ({"inputs": []}, "'inputs' must be a list"),
        ({"inputs": [1]}, "must hold objects"),
        ({"inputs": [{"name": 1}]}, "'name' must be a string"),
        (body(wind=tensor("wind", "FP99", [1])), "datatype must be one of"),
        (body(wind={"name": "wind", "datatype": "FP64", "shape": 2, "data": []}), "shape must be a list"),
        (body(wind=tensor("wind", "FP64", [1, 2], [-1])), "shape must be a list"),
        (body(wind=tensor("wind", "FP64", [1, 2], [True, 2])), "shape must be a list"),
        (body(wind=tensor("wind", "FP64", [1, 2, 3, 4], [2, 2])), "shape [n] or [n, 1]"),
        (body(wind=tensor("wind", "FP64", [1, 2, 3])), "same n"),
        (body(wind={"name": "wind", "datatype": "FP64", "shape": [2]}), "data must be a list"),
        (body(wind=None, hour=None), "['wind', 'hour'] are missing"),
        (body(extra=tensor("gust", "FP64", [1, 2])), "'gust' is unknown"),
        (body(extra=tensor("wind", "FP64", [1, 2])), "must be given once"),
        (body(carrier=tensor("carrier", "FP64", [1, 2])), "must be BYTES, got FP64"),
        (body(wind=tensor("wind", "BYTES", ["a", "b"])), "must be FP64, got BYTES"),
        (body(wind=tensor("wind", "BOOL", [True, False])), "must be FP64, got BOOL"),
        (body(hour=tensor("hour", "FP64", [1.5, 2.0])), "must be INT64, got FP64"),
        (body(late=tensor("late", "INT8", [0, 2])), "must be BOOL, got INT8"),
        (body(outputs=[{"name": "nope"}]), "output 'nope' is unknown"),
        (body(outputs=[{"name": "label", "parameters": {"binary_data": 1}}]), "'binary_data' must be a bool"),
        (body(outputs=[1]), "'outputs' must be a list"),
        (body(parameters=[]), "'parameters' must be an object"),
        (body(parameters={"binary_data_output": 1}), "must be a bool"),
        (body(id=7), "'id' must be a string"),
        (body(id="x" * 257), "'id' must be a string"),
        (body(wind=tensor("wind", "FP64", [])), "same n"),
    ],
)
def test_wrong_requests_are_named(document: Any, message: str) -> None:
    with pytest.raises(DataError) as caught:
        decode(document)
    assert message in str(caught.value)


@pytest.mark.parametrize(("rows", "width"), [(2, 3), (0, 2)])
def test_a_matrix_of_the_wrong_shape_is_named(rows: int, width: int) -> None:
    with pytest.raises(DataError, match=r"shape|rows"):
        decode({"inputs": [tensor("features", "FP64", [0.0] * rows * width, [rows, width])]}, NUMERIC)


def test_a_null_where_the_model_takes_none_is_the_callers_fault() -> None:
    strict = InputSchema(SCHEMA.signature, {"wind", "carrier"})
    with pytest.raises(DataError, match=r"inputs \['wind'\] must not be missing"):
        decode(body(), strict)
    assert (
        decode(body(wind=tensor("wind", "FP64", [1.5, 2.0]), hour=tensor("hour", "INT64", [None, 1])), strict).rows == 2
    )


def test_too_many_rows_are_refused() -> None:
    columns = [tensor("a", "FP64", [0] * (50_001)), tensor("b", "INT32", [0] * (50_001))]
    with pytest.raises(DataError, match="rows"):
        decode({"inputs": columns}, NUMERIC)


def binary_request(columns: dict[str, tuple[str, bytes]], rows: int, **more: Any) -> tuple[bytes, dict[str, str]]:
    """What tritonclient sends by default."""
    inputs = [
        {"name": name, "datatype": datatype, "shape": [rows], "parameters": {"binary_data_size": len(raw)}}
        for name, (datatype, raw) in columns.items()
    ]
    text = json.dumps({"inputs": inputs, **more}).encode()
    return text + b"".join(raw for _, raw in columns.values()), {BINARY_HEADER: str(len(text))}


def test_binary_tensors() -> None:
    content, headers = binary_request(
        {
            "wind": ("FP64", np.array([1.5, np.nan]).tobytes()),
            "hour": ("INT64", np.array([7, 8]).tobytes()),
            "late": ("BOOL", b"\1\0"),
            "carrier": ("BYTES", b"\2\0\0\0AA\2\0\0\0UA"),
        },
        2,
        parameters={"binary_data_output": True},
    )
    request = decode_infer(content, headers, SCHEMA)
    assert request.binary
    assert [request.columns[name].tolist() for name in ("hour", "late", "carrier")] == [
        [7, 8],
        [True, False],
        ["AA", "UA"],
    ]


def test_binary_and_json_tensors_mix() -> None:
    raw = np.array([1.0]).tobytes()
    text = orjson.dumps(
        {
            "inputs": [
                {"name": "a", "datatype": "FP64", "shape": [1], "parameters": {"binary_data_size": 8}},
                tensor("b", "INT32", [5]),
            ]
        }
    )
    request = decode_infer(text + raw, {BINARY_HEADER: str(len(text))}, NUMERIC)
    assert (request.columns["a"].tolist(), request.columns["b"].tolist()) == ([1.0], [5])


@pytest.mark.parametrize("cut", [1, 8, 15])
def test_truncated_and_padded_binary_is_refused(cut: int) -> None:
    raw = np.array([1.0]).tobytes()
    content, headers = binary_request({"a": ("FP64", raw), "b": ("FP64", raw)}, 1)
    with pytest.raises(DataError, match="binary part ends"):
        decode_infer(content[:-cut], headers, NUMERIC)
    with pytest.raises(DataError, match="binary part must hold"):
        decode_infer(content + b"\0" * cut, headers, NUMERIC)


@pytest.mark.parametrize("length", ["-1", "x", "", "999999", "²", "1" * 30])
def test_a_wrong_header_length_is_refused(length: str) -> None:
    with pytest.raises(DataError, match=BINARY_HEADER):
        decode_infer(b"{}", {BINARY_HEADER: length}, NUMERIC)


def test_data_and_bytes_at_once_are_refused() -> None:
    column = tensor("a", "FP64", [1.0]) | {"parameters": {"binary_data_size": 8}}
    with pytest.raises(DataError, match="got both"):
        decode({"inputs": [column]}, NUMERIC)


def test_an_answer_in_json() -> None:
    content, headers = encode_infer({"model_name": "m"}, OUTPUTS)
    assert headers == {"content-type": "application/json"}
    assert orjson.loads(content) == {
        "model_name": "m",
        "outputs": [
            {"name": "label", "datatype": "INT64", "shape": [2], "data": [1, 0]},
            {"name": "probability", "datatype": "FP64", "shape": [2, 2], "data": [0.25, 0.75, 0.5, 0.5]},
        ],
    }


def test_an_answer_in_bytes() -> None:
    request = decode(body(parameters={"binary_data_output": True}))
    content, headers = encode_infer({}, OUTPUTS, request)
    length = int(headers[BINARY_HEADER])
    sizes = [output["parameters"]["binary_data_size"] for output in orjson.loads(content[:length])["outputs"]]
    assert sizes == [16, 32]
    assert np.frombuffer(content[length : length + 16], np.int64).tolist() == [1, 0]
    assert np.frombuffer(content[length + 16 :]).tolist() == [0.25, 0.75, 0.5, 0.5]


def test_outputs_are_filtered_and_each_has_its_form() -> None:
    request = decode(body(outputs=[{"name": "probability", "parameters": {"binary_data": True}}]))
    content, headers = encode_infer({}, OUTPUTS, request)
    assert [output["name"] for output in orjson.loads(content[: int(headers[BINARY_HEADER])])["outputs"]] == [
        "probability"
    ]
    both = decode(
        body(
            parameters={"binary_data_output": True},
            outputs=[{"name": "label", "parameters": {"binary_data": False}}, {"name": "probability"}],
        )
    )
    assert both.outputs == {"label": False, "probability": True}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
DATATYPES = st.sampled_from(["FP16", "FP32", "FP64", "INT8", "INT64", "UINT64", "BOOL", "BYTES", "X"]) | JSON
FUZZED_TENSOR = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["wind", "hour", "late", "carrier", "features"]) | JSON,
        "datatype": DATATYPES,
        "shape": st.lists(st.integers(-1, 3), max_size=3) | JSON,
    },
    optional={
        "data": st.lists(JSON, max_size=4) | JSON,
        "parameters": JSON | st.fixed_dictionaries({"binary_data_size": st.integers(-1, 40) | JSON}),
    },
)
FUZZED = st.fixed_dictionaries(
    {"inputs": st.lists(FUZZED_TENSOR, max_size=4) | JSON},
    optional={"id": JSON, "parameters": JSON, "outputs": st.lists(JSON, max_size=2) | JSON},
)


def _only_data_errors(content: bytes, headers: dict[str, str]) -> None:
    try:
        request = decode_infer(content, headers, SCHEMA)
    except DataError:
        return
    assert set(request.columns) == set(SCHEMA.names)
    assert {len(column) for column in request.columns.values()} == {request.rows}


@given(FUZZED | JSON, st.none() | st.integers(-5, 5), st.binary(max_size=40))
@settings(max_examples=examples(150), deadline=None)
def test_fuzzed_documents_give_a_request_or_a_data_error(document: Any, shift: int | None, tail: bytes) -> None:
    text = orjson.dumps(document)
    _only_data_errors(text + tail, {} if shift is None else {BINARY_HEADER: str(len(text) + shift)})


@given(st.binary(max_size=60), st.none() | st.text(max_size=5))
@settings(max_examples=examples(60), deadline=None)
def test_fuzzed_bytes_give_a_data_error(content: bytes, header: str | None) -> None:
    _only_data_errors(content, {} if header is None else {BINARY_HEADER: header})


@given(st.data())
@settings(max_examples=examples(100), deadline=None)
def test_a_mutated_request_gives_a_request_or_a_data_error(data: st.DataObject) -> None:
    content = bytearray(orjson.dumps(body(id="r", outputs=[{"name": "label"}])))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    _only_data_errors(bytes(content), {})


@given(st.lists(st.floats(), min_size=1, max_size=40), st.integers(1, 3))
def test_an_answer_written_in_pieces_is_the_same(values: list[float], times: int) -> None:
    array = np.resize(np.array(values), open_inference.CHUNK_VALUES * times + 7)

    def written(array: Any) -> list[Any]:
        found: list[Any] = orjson.loads(encode_infer({}, {"value": array})[0])["outputs"][0]["data"]
        return found

    whole = [value for start in range(0, array.size, 1000) for value in written(array[start : start + 1000])]
    same = written(array) == whole  # apart from the assertion, which would look for the difference for long
    assert same
