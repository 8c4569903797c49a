from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from raymlops.errors import ConfigError, DataError
from raymlops.features import Field, OnDemandView
from raymlops.features.on_demand import OnDemandFunction
from raymlops.features.schema import INSTANT

T = datetime(2024, 3, 1, 12, 30, tzinfo=UTC)


def view(function: str, *fields: Field, inputs: tuple[str, ...] = ("x",), **options: Any) -> OnDemandView:
    return OnDemandView("od", inputs, fields or [Field("y", "float64")], f"{__name__}:{function}", **options)


def doubled(columns: Any) -> Any:
    return {"y": columns["x"] * 2}


def kinds(columns: Any) -> Any:
    hour = columns["v__t"].astype("datetime64[h]")
    name = np.array([None if value is None else value.upper() for value in columns["name"]], dtype=object)
    return {"hour": hour, "name": name, "whole": np.floor(columns["v__b"]), "flag": columns["v__b"] > 0}


def raising(_: Any) -> Any:
    raise ZeroDivisionError("oops")


def wrong_names(columns: Any) -> Any:
    return {"z": columns["x"]}


def wrong_shape(_: Any) -> Any:
    return {"y": np.zeros(7)}


def no_mapping(columns: Any) -> Any:
    return columns["x"]


not_callable = 7


def test_missing_numbers_are_nan_for_the_function_and_null_outside() -> None:
    computed = OnDemandFunction(view("doubled")).compute({"x": pa.array([1, None, 3])}, 3)
    assert computed["od__y"].to_pylist() == [2.0, None, 6.0]
    assert computed["od__y"].type == pa.float64()


def test_all_types_go_in_and_out() -> None:
    fields = [Field("hour", "timestamp"), Field("name", "string"), Field("whole", "int64"), Field("flag", "bool")]
    given = view("kinds", *fields, inputs=("v:t", "v:b", "name"), request_types={"name": "string"})
    function = OnDemandFunction(given)
    assert function.request_type("name") == "string"
    columns = {"v__t": pa.array([T, None], INSTANT), "v__b": pa.array([True, None]), "name": pa.array(["a", None])}
    computed = function.compute(columns, 2)
    assert {name: column.to_pylist() for name, column in computed.items()} == {
        "od__hour": [T.replace(minute=0), None],
        "od__name": ["A", None],
        "od__whole": [1, None],
        "od__flag": [True, False],
    }


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("raising", r"on-demand view 'od@1': .*:raising raised ZeroDivisionError\('oops'\)"),
        ("wrong_names", r"must return columns \['y'\], got \['z'\]"),
        ("wrong_shape", r"column 'y' must have shape \(1,\), got \(7,\)"),
        ("no_mapping", r"must return columns \['y'\], got ndarray"),
    ],
)
def test_a_function_that_misbehaves_is_named(function: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        OnDemandFunction(view(function)).compute({"x": pa.array([1.0])}, 1)


def test_a_result_of_another_type_is_refused() -> None:
    with pytest.raises(DataError, match="column 'y' must be int64, got float64"):
        OnDemandFunction(view("doubled", Field("y", "int64"))).compute({"x": pa.array([0.25])}, 1)


@pytest.mark.parametrize("function", ["no_such_module_here:f", f"{__name__}:missing", f"{__name__}:not_callable"])
def test_a_function_that_cannot_be_loaded(function: str) -> None:
    with pytest.raises(ConfigError, match="on-demand view 'od@1'"):
        OnDemandFunction(OnDemandView("od", ["x"], [Field("y", "float64")], function))
