from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from raymlops.errors import DataError, SchemaMismatch
from raymlops.records.learning.signatures import ColumnSpec, Signature
from raymlops.serving.models.arrow_inputs import datatype_of_arrow
from raymlops.serving.protocol.schema import InputSchema, datatype_of_label, labels_array

INPUTS = (ColumnSpec(name="a", dtype="FP64"), ColumnSpec(name="b", dtype="BYTES"))


@pytest.mark.parametrize(
    ("dtype", "datatype"),
    [
        (pa.bool_(), "BOOL"),
        (pa.int8(), "INT8"),
        (pa.uint64(), "UINT64"),
        (pa.float16(), "FP16"),
        (pa.float64(), "FP64"),
        (pa.string(), "BYTES"),
        (pa.large_string(), "BYTES"),
        (pa.dictionary(pa.int32(), pa.string()), "BYTES"),
    ],
)
def test_arrow_types_have_a_datatype(dtype: pa.DataType, datatype: str) -> None:
    assert datatype_of_arrow("x", dtype) == datatype


@pytest.mark.parametrize("dtype", [pa.binary(), pa.null(), pa.timestamp("us"), pa.list_(pa.int8()), pa.decimal128(5)])
def test_other_arrow_types_are_refused(dtype: pa.DataType) -> None:
    with pytest.raises(SchemaMismatch, match="'x' must be"):
        datatype_of_arrow("x", dtype)


@pytest.mark.parametrize(
    ("classes", "datatype"),
    [((0, 1), "INT64"), ((False, True), "BOOL"), ((0.5, 1), "FP64"), (("a", "b"), "BYTES"), (("a", 1), "BYTES")],
)
def test_labels_have_the_type_of_the_classes(classes: tuple[Any, ...], datatype: str) -> None:
    signature = Signature(task="classifier", inputs=INPUTS, classes=classes)
    assert datatype_of_label(signature) == datatype
    wanted = [str(value) for value in classes] if datatype == "BYTES" else list(classes)
    assert labels_array(signature).tolist() == wanted


def test_a_schema_describes_itself() -> None:
    schema = InputSchema(Signature(task="regressor", inputs=INPUTS))
    assert (schema.names, schema.texts, schema.outputs) == (("a", "b"), {"b"}, ("value",))
    assert schema.input_metadata()[1] == {"name": "b", "datatype": "BYTES", "shape": [-1]}
    assert schema.output_metadata() == [{"name": "value", "datatype": "FP64", "shape": [-1]}]


def test_what_is_required_must_not_be_missing() -> None:
    columns = (
        ColumnSpec(name="a", dtype="FP64"),
        ColumnSpec(name="b", dtype="BYTES"),
        ColumnSpec(name="c", dtype="INT8"),
    )
    schema = InputSchema(Signature(task="regressor", inputs=columns), {"b", "a"})
    assert schema.required == ("a", "b")
    text = np.array(["x", None], dtype=object)
    schema.check_present({"a": np.array([1.0, 2.0]), "c": np.array([np.nan])})
    schema.check_present({"a": np.array([1, 2]), "b": text[:1]})
    with pytest.raises(DataError, match=r"inputs \['a', 'b'\] must not be missing"):
        schema.check_present({"a": np.array([1.0, np.nan]), "b": text})
