from __future__ import annotations

import re
from typing import Any

import orjson
import pyarrow as pa
import pytest

from raymlops.clock import to_us
from raymlops.errors import DataError
from raymlops.records.learning.signatures import ColumnSpec, Signature
from raymlops.serving.protocol.labels import decode_labels

INPUTS = (ColumnSpec(name="a", dtype="FP64"),)
BINARY = Signature(task="classifier", inputs=INPUTS, classes=(0, 1))
NAMED = Signature(task="classifier", inputs=INPUTS, classes=("late", "on time"))
VALUE = Signature(task="regressor", inputs=INPUTS)


def decode(helpers: Any, labels: Any, signature: Signature = BINARY, **headers: str) -> Any:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return decode_labels(orjson.dumps({"labels": labels}), named, signature, to_us(helpers.NOW))


def test_labels_become_a_table(helpers: Any) -> None:
    table, batch_id = decode(
        helpers,
        [
            {"request_id": "a", "row": 3, "label": 1, "event_time": "2013-05-01T00:00:00Z"},
            {"request_id": "b", "label": 0},
        ],
        idempotency_key="k",
    )
    assert batch_id == "k"
    assert table.schema.types == [pa.string(), pa.int32(), pa.float64(), pa.timestamp("us", tz="UTC")]
    assert table.column("label").to_pylist() == [1.0, 0.0]
    assert table.column("row").to_pylist() == [3, 0]
    assert table.column("event_time").to_pylist()[1] == helpers.NOW


def test_without_a_key_each_batch_has_its_own_id(helpers: Any) -> None:
    ids = {decode(helpers, [{"request_id": "a", "label": 1}])[1] for _ in range(2)}
    assert len(ids) == 2


def test_labels_of_other_tasks(helpers: Any) -> None:
    named, _ = decode(helpers, [{"request_id": "a", "label": "late"}], NAMED)
    assert named.column("label").to_pylist() == ["late"]
    whole, _ = decode(helpers, [{"request_id": "a", "label": 1.0}])
    assert whole.column("label").to_pylist() == [1.0]
    value, _ = decode(helpers, [{"request_id": "a", "label": 3}, {"request_id": "b", "label": 2.5}], VALUE)
    assert value.column("label").to_pylist() == [3.0, 2.5]


@pytest.mark.parametrize(
    ("labels", "signature", "message"),
    [
        (None, BINARY, "must hold 'labels'"),
        ([], BINARY, "must hold 'labels'"),
        ([1], BINARY, "label 0 must be an object"),
        ([{"label": 1}], BINARY, "label 0 must be an object"),
        (
            [{"request_id": "a", "label": 1}, {"request_id": "a", "label": 1, "x": 1}],
            BINARY,
            "label 1 must be an object",
        ),
        ([{"request_id": "", "label": 1}], BINARY, "must not be empty"),
        ([{"request_id": 5, "label": 1}], BINARY, "'id' must be a string"),
        ([{"request_id": "a", "label": 2}], BINARY, "one of the classes [0, 1]"),
        ([{"request_id": "a", "label": True}], BINARY, "one of the classes"),
        ([{"request_id": "a", "label": 0.5}], BINARY, "one of the classes"),
        ([{"request_id": "a", "label": "1"}], BINARY, "one of the classes"),
        ([{"request_id": "a", "label": "x"}], NAMED, "one of the classes"),
        ([{"request_id": "a", "label": None}], BINARY, "one of the classes"),
        ([{"request_id": "a", "label": True}], VALUE, "must be a number"),
        ([{"request_id": "a", "label": "1"}], VALUE, "must be a number"),
        ([{"request_id": "a", "label": 1, "row": -1}], BINARY, "'row' must be"),
        ([{"request_id": "a", "label": 1, "row": 2**31}], BINARY, "'row' must be"),
        ([{"request_id": "a", "label": 1, "row": True}], BINARY, "'row' must be"),
        ([{"request_id": "a", "label": 1, "event_time": "2099-01-01T00:00:00Z"}], BINARY, "later than"),
        ([{"request_id": "a", "label": 1, "event_time": 5}], BINARY, "ISO 8601"),
    ],
)
def test_wrong_labels_are_named(helpers: Any, labels: Any, signature: Signature, message: str) -> None:
    with pytest.raises(DataError) as caught:
        decode(helpers, labels, signature)
    assert message in str(caught.value)


def test_nothing_but_labels_is_taken(helpers: Any) -> None:
    with pytest.raises(DataError, match="nothing else"):
        decode_labels(b'{"labels": [], "x": 1}', {}, BINARY, 0)


def test_a_body_may_declare_what_labels_stand_for(helpers: Any) -> None:
    def read(signature: Signature, classes: Any, *values: object) -> Any:
        body = {"labels": [{"request_id": "a", "label": value} for value in values], "classes": classes}
        return decode_labels(orjson.dumps(body), {}, signature, to_us(helpers.NOW))[0]["label"].to_pylist()

    assert read(BINARY, {"yes": 1, "no": 0, "true": 1}, "yes", "no", True, 1) == [1.0, 0.0, 1.0, 1.0]
    assert read(NAMED, {"1": "late", "0": "on time"}, 1, 0, "late") == ["late", "on time", "late"]
    for classes, message in (
        ({"yes": 2}, "label 'yes' must stand for one of the classes [0, 1], got 2"),
        ({"yes": [1]}, "must stand for one of the classes"),
        ({"true": 1, "1": 0}, "label '1' must stand for one class, got two"),
        ([], "'classes' must be an object"),
        ({str(number): 1 for number in range(1001)}, "at most 1000"),
    ):
        with pytest.raises(DataError, match=re.escape(message)):
            read(BINARY, classes, "yes")


def test_a_label_that_names_no_class_is_refused_with_both(helpers: Any) -> None:
    for value, shown in (("1.0", "'1.0'"), ("yes", "'yes'"), (True, "True"), ("x" * 100, "'" + "x" * 59)):
        with pytest.raises(
            DataError, match=re.escape(f"label 0: 'label' must be one of the classes [0, 1], got {shown}")
        ):
            decode(helpers, [{"request_id": "a", "label": value}])
