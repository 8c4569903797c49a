from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raymlops.clock import to_us
from raymlops.errors import DataError, DeploymentError
from raymlops.records.learning.signatures import ColumnSpec, Signature
from raymlops.serving.protocol.instances import InstanceSchema, parse_instant
from raymlops.serving.protocol.schema import InputSchema
from tests.support.examples import examples

SIGNATURE = Signature(
    task="classifier",
    inputs=(
        ColumnSpec(name="distance", dtype="FP64"),
        ColumnSpec(name="hour", dtype="INT64"),
        ColumnSpec(name="holiday", dtype="BOOL"),
        ColumnSpec(name="carrier", dtype="BYTES"),
        ColumnSpec(name="weather__wind", dtype="FP64"),
    ),
    classes=(0, 1),
)
GOOD = {"origin": "JFK", "distance": 500.5, "hour": 7, "holiday": True, "carrier": "AA"}


@pytest.fixture
def online(helpers: Any) -> Any:
    return helpers.FakeOnline()


@pytest.fixture
def schema(online: Any) -> InstanceSchema:
    return InstanceSchema(InputSchema(SIGNATURE), online)


@pytest.fixture
def now_us(helpers: Any) -> int:
    return to_us(helpers.NOW)


def decode(schema: InstanceSchema, now_us: int, document: Any) -> Any:
    return schema.decode(orjson.dumps(document), now_us)


def test_a_field_the_model_needs_must_be_there_and_a_feature_may_be_missing(online: Any, now_us: int) -> None:
    schema = InstanceSchema(InputSchema(SIGNATURE, {"hour", "weather__wind"}), online)
    unknown = GOOD | {"origin": "nowhere"}
    assert np.isnan(decode(schema, now_us, {"instances": [unknown]}).columns["weather__wind"]).all()
    with pytest.raises(DataError, match=r"inputs \['hour'\] must not be missing"):
        decode(schema, now_us, {"instances": [GOOD, unknown | {"hour": None}]})


def test_features_join_request_time_fields(schema: InstanceSchema, online: Any, now_us: int) -> None:
    rows = [GOOD, GOOD | {"origin": "EWR", "distance": 3, "hour": None, "holiday": None, "carrier": None}]
    request = decode(schema, now_us, {"id": "r", "instances": rows})
    assert (request.request_id, request.rows, request.at_us) == ("r", 2, [now_us, now_us])
    np.testing.assert_array_equal(request.columns["distance"], [500.5, 3])
    np.testing.assert_array_equal(request.columns["hour"], [7, np.nan])
    np.testing.assert_array_equal(request.columns["holiday"], [1, np.nan])
    assert request.columns["carrier"].tolist() == ["AA", None]
    np.testing.assert_array_equal(request.columns["weather__wind"], [10, np.nan])
    assert request.missing == [[], ["weather__wind", "weather__rain"]]
    assert request.feature_times_us == {"weather": [now_us - 60_000_000, None]}


def test_at_reaches_the_join(schema: InstanceSchema, online: Any, helpers: Any, now_us: int) -> None:
    earlier = helpers.NOW - timedelta(hours=1)
    decode(schema, now_us, {"instances": [GOOD, GOOD], "parameters": {"at": earlier.isoformat()}})
    each = [earlier.isoformat(), "2013-06-01T14:00:00+02:00"]
    request = decode(schema, now_us, {"instances": [GOOD, GOOD], "parameters": {"at": each}})
    decode(schema, now_us, {"instances": [GOOD], "parameters": {}})
    assert online.asked == [[to_us(earlier)] * 2, [to_us(earlier), now_us], [now_us]]
    assert request.at_us == [to_us(earlier), now_us]


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({}, "'instances' must be a list"),
        ({"instances": []}, "'instances' must be a list"),
        ({"instances": [GOOD], "extra": 1}, "unknown fields ['extra']"),
        ({"instances": [7]}, "instance 0 must be an object"),
        ({"instances": [GOOD, {"origin": "JFK"}]}, "instance 1 misses ['carrier', 'distance', 'holiday', 'hour']"),
        ({"instances": [GOOD | {"x": 1}]}, "instance 0 has unknown ['x']"),
        ({"instances": [GOOD | {"weather__wind": 1}]}, "has unknown ['weather__wind']"),
        (
            {"instances": [GOOD, GOOD | {"distance": "far"}]},
            "instance 1: 'distance' must be a number or null, got 'far'",
        ),
        ({"instances": [GOOD | {"distance": True}]}, "'distance' must be a number or null"),
        ({"instances": [GOOD | {"hour": 7.0}]}, "'hour' must be an integer or null"),
        ({"instances": [GOOD | {"holiday": 1}]}, "'holiday' must be a bool or null"),
        ({"instances": [GOOD | {"carrier": 1}]}, "'carrier' must be a string or null"),
        ({"instances": [GOOD | {"origin": ["JFK"]}]}, "'origin' must be a string, a number, a bool or null"),
        ({"instances": [GOOD] * 1001}, "at most 1000"),
        ({"instances": [GOOD], "parameters": 1}, "'parameters' must be an object"),
        ({"instances": [GOOD], "parameters": {"when": 1}}, "'parameters' must be an object"),
        ({"instances": [GOOD], "parameters": {"at": 5}}, "'at' must be an ISO 8601 string"),
        ({"instances": [GOOD], "parameters": {"at": "2013-06-01"}}, "with its offset"),
        ({"instances": [GOOD], "parameters": {"at": "soon"}}, "with its offset"),
        ({"instances": [GOOD], "parameters": {"at": []}}, "one per instance"),
        ({"instances": [GOOD], "parameters": {"at": "2013-06-01T12:00:00.000001Z"}}, "later than"),
        ({"instances": [GOOD], "id": 5}, "'id' must be"),
    ],
)
def test_wrong_requests_are_named(schema: InstanceSchema, now_us: int, document: Any, message: str) -> None:
    with pytest.raises(DataError) as caught:
        decode(schema, now_us, document)
    assert message in str(caught.value)


def test_without_a_service_every_input_is_a_field(now_us: int) -> None:
    schema = InstanceSchema(InputSchema(SIGNATURE), None)
    assert (schema.keys, schema.fields) == ((), tuple(column.name for column in SIGNATURE.inputs))
    instance = {name: value for name, value in GOOD.items() if name != "origin"} | {"weather__wind": 2}
    request = decode(schema, now_us, {"instances": [instance]})
    assert request.missing == ()
    assert request.columns["weather__wind"].tolist() == [2]


def test_features_of_others_are_joined_too(online: Any, now_us: int) -> None:
    other = Signature(task="regressor", inputs=(ColumnSpec(name="weather__rain", dtype="FP64"),))
    schema = InstanceSchema(InputSchema(SIGNATURE), online, [other])
    request = decode(schema, now_us, {"instances": [GOOD]})
    assert request.columns["weather__rain"].tolist() == [0.5]


def test_text_features_stay_text(online: Any, now_us: int) -> None:
    signature = Signature(task="regressor", inputs=(ColumnSpec(name="weather__wind", dtype="BYTES"),))
    online.rows = {"JFK": ["strong", None]}
    request = decode(InstanceSchema(InputSchema(signature), online), now_us, {"instances": [{"origin": "JFK"}]})
    assert request.columns["weather__wind"].tolist() == ["strong"]
    with pytest.raises(DeploymentError, match="must be numbers"):
        decode(InstanceSchema(InputSchema(SIGNATURE), online), now_us, {"instances": [GOOD]})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
FUZZED = st.fixed_dictionaries(
    {"instances": st.lists(st.fixed_dictionaries(dict.fromkeys(GOOD, JSON)), max_size=3) | JSON},
    optional={"id": JSON, "parameters": JSON | st.fixed_dictionaries({"at": JSON})},
)


@given(FUZZED)
@settings(max_examples=examples(100), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_fuzzed_documents_give_a_request_or_a_data_error(schema: InstanceSchema, now_us: int, document: Any) -> None:
    try:
        request = decode(schema, now_us, document)
    except DataError:
        return
    assert {len(column) for column in request.columns.values()} == {request.rows}


@given(st.text(max_size=30) | st.datetimes().map(str))
@settings(max_examples=examples(100), deadline=None)
def test_any_text_is_an_instant_or_a_data_error(text: str) -> None:
    try:
        parse_instant(text, "at")
    except DataError:
        return


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59.999999-23:59"])
def test_the_ends_of_time_do_not_overflow(text: str) -> None:
    assert isinstance(parse_instant(text, "at"), int)
