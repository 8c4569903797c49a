from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from raymlops.clock import to_us
from raymlops.records.learning.signatures import ColumnSpec, Signature
from raymlops.serving.answering.events import PredictionEvent, to_tables
from raymlops.serving.models.input_names import EVENT_SCHEMA
from raymlops.serving.protocol.prediction_request import PredictionRequest
from raymlops.serving.protocol.schema import InputSchema

INPUTS = (ColumnSpec(name="wind", dtype="FP64"), ColumnSpec(name="carrier", dtype="BYTES"))
SCHEMA = InputSchema(Signature(task="classifier", inputs=INPUTS, classes=(0, 1)))
VALUES = InputSchema(Signature(task="regressor", inputs=INPUTS[:1]))


def asked(helpers: Any, request_id: str, rows: int, **joined: Any) -> PredictionRequest:
    columns = {
        "wind": np.array([1.5, np.nan, 3.0][:rows]),
        "carrier": np.array(["AA", None, "UA"][:rows], dtype=object),
    }
    return PredictionRequest(request_id, columns, [to_us(helpers.NOW) - row for row in range(rows)], **joined)


def event(helpers: Any, request_id: str, rows: int, **changes: Any) -> PredictionEvent:
    now = to_us(helpers.NOW)
    defaults: dict[str, Any] = {
        "request": asked(helpers, request_id, rows),
        "schema": SCHEMA,
        "served_at_us": now,
        "version": 4,
        "role": "champion",
        "latency_us": 250,
        "outputs": {
            "label": np.array([1, 0, 1][:rows]),
            "probability": np.array([[0.25, 0.75], [0.875, 0.125], [0, 1]][:rows]),
        },
    }
    return PredictionEvent(**{**defaults, **changes})


def test_rows_of_events(helpers: Any) -> None:
    joined = asked(
        helpers,
        "a",
        1,
        missing=[["tail number__age", "tail number__seats"]],
        entities=['{"tail":"N1"}'],
        feature_times_us={"weather": [5], "tail number": [None]},
    )
    (table,) = to_tables(
        [event(helpers, "a", 1, request=joined), event(helpers, "b", 2, fallback="canary 5: NaN")],
    )
    assert table.schema.names == [*EVENT_SCHEMA.names, "wind", "carrier"]
    assert table.schema.field("wind").type == pa.float64()
    rows = table.to_pylist()
    assert [(row["request_id"], row["row"]) for row in rows] == [("a", 0), ("b", 0), ("b", 1)]
    assert [row["score"] for row in rows] == [0.75, 0.75, 0.125]
    assert [row["label_predicted"] for row in rows] == ["1", "1", "0"]
    assert [row["wind"] for row in rows] == [1.5, 1.5, None]
    assert [row["carrier"] for row in rows] == ["AA", "AA", None]
    assert [row["missing"] for row in rows] == [2, 0, 0]
    assert [row["entity"] for row in rows] == ['{"tail":"N1"}', None, None]
    assert [row["feature_times"] for row in rows] == ['{"weather":5,"tail number":null}', None, None]
    assert [row["fallback"] for row in rows] == [None, "canary 5: NaN", "canary 5: NaN"]
    assert rows[0] | {"wind": None} == {
        "request_id": "a",
        "row": 0,
        "event_time": helpers.NOW,
        "served_at": helpers.NOW,
        "version": 4,
        "role": "champion",
        "latency_us": 250,
        "fallback": None,
        "error": None,
        "missing": 2,
        "score": 0.75,
        "label_predicted": "1",
        "entity": '{"tail":"N1"}',
        "feature_times": '{"weather":5,"tail number":null}',
        "wind": None,
        "carrier": "AA",
    }


def test_an_event_without_an_answer_has_no_score(helpers: Any) -> None:
    (table,) = to_tables([event(helpers, "a", 2, outputs=None, error="champion 4: ValueError")])
    assert table.column("score").to_pylist() == table.column("label_predicted").to_pylist() == [None, None]
    assert table.column("error").to_pylist() == ["champion 4: ValueError"] * 2


def test_scores_of_many_classes_and_of_values(helpers: Any) -> None:
    three = {"label": np.array(["x"], dtype=object), "probability": np.array([[0.25, 0.5, 0.25]])}
    (table,) = to_tables([event(helpers, "a", 1, outputs=three)])
    assert (table.column("score").to_pylist(), table.column("label_predicted").to_pylist()) == ([0.5], ["x"])
    (table,) = to_tables([event(helpers, "a", 1, schema=VALUES, outputs={"value": np.array([42.0])})])
    assert (table.column("score").to_pylist(), table.column("label_predicted").to_pylist()) == ([42.0], [None])


def test_a_change_of_inputs_begins_a_new_table(helpers: Any) -> None:
    values = {"value": np.array([42.0])}
    tables = to_tables(
        [event(helpers, "a", 1), event(helpers, "b", 1), event(helpers, "c", 1, schema=VALUES, outputs=values)]
    )
    assert [table.num_rows for table in tables] == [2, 1]
    assert "carrier" not in tables[1].column_names
