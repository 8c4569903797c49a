from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest

from raymlops.errors import SchemaMismatch
from raymlops.features import Entity, FeatureView, Field, OnDemandView, WindowAggregate
from raymlops.features.definitions.examples import example_of, values_of
from raymlops.features.definitions.schema import arrow_type

HOUR = timedelta(hours=1)
T = datetime(2024, 3, 1, tzinfo=UTC)
FUNCTIONS: Any = ("count", "sum", "mean", "std", "min", "max", "last", "distinct")
VIEW = FeatureView(
    "v",
    Entity("e", ["k"]),
    [
        Field("age", "int64", nullable=False, ge=0, le=120),
        Field("kind", "string", allowed=["a", "b"]),
        Field("flag", "bool"),
        Field("at", "timestamp"),
    ],
    aggregates=[WindowAggregate(f"age_{function}", function, "age", HOUR) for function in FUNCTIONS]
    + [WindowAggregate("flag_mean", "mean", "flag", HOUR)],
)
INPUTS = [f"v:{name}" for name in VIEW.feature_names] + ["asked", "word"]


def on_demand(**options: Any) -> OnDemandView:
    given: dict[str, Any] = {
        "name": "od",
        "inputs": INPUTS,
        "fields": [Field("y", "float64")],
        "function": "m:f",
        "request_types": {"word": "string"},
    }
    return OnDemandView(**given | options)


def test_columns_have_the_declared_types_and_keep_the_constraints() -> None:
    example = example_of(on_demand(), {"v": VIEW})
    rows = len(example["asked"])
    assert rows >= 24
    types = {f"v__{name}": arrow_type(VIEW.dtype_of(name)) for name in VIEW.feature_names}
    types |= {"asked": pa.float64(), "word": pa.string()}
    assert {name: column.type for name, column in example.items()} == types
    ages = [age for age in example["v__age"].to_pylist() if age is not None]
    assert (min(ages), max(ages)) == (0, 120)
    assert set(example["v__kind"].to_pylist()) == {"a", "b", None}
    assert all(0 <= share <= 1 for share in example["v__flag_mean"].to_pylist() if share is not None)
    assert all(0 <= mean <= 120 for mean in example["v__age_mean"].to_pylist() if mean is not None)
    assert all(total >= 0 for total in example["v__age_sum"].to_pylist() if total is not None)


def test_every_value_is_missing_once_alone_and_once_with_the_others() -> None:
    example = example_of(on_demand(), {"v": VIEW})
    counts = {"v__age_count", "v__age_distinct"}
    assert [example[name].null_count for name in counts] == [0, 0]  # without values they are 0
    for name in example.keys() - counts:
        assert example[name].null_count == 2, name
        assert example[name][-1].as_py() is None


def test_awkward_values_are_there() -> None:
    example = example_of(on_demand(), {"v": VIEW})
    numbers, words = set(example["asked"].to_pylist()), set(example["word"].to_pylist())
    assert {0.0, -1.0, 0.5, 1e15, None} <= numbers
    assert {"", None} <= words
    assert any(instant is not None and instant.year < 1970 for instant in example["v__at"].to_pylist())


def test_it_is_the_same_every_time() -> None:
    assert example_of(on_demand(), {"v": VIEW}) == example_of(on_demand(), {"v": VIEW})


@pytest.mark.parametrize(
    "field",
    [
        Field("x", "float64", ge=2.5),
        Field("x", "float64", le=-2.5),
        Field("x", "float64", ge=5, le=5),
        Field("x", "int64", ge=2.5),
        Field("x", "int64", le=-2.5),
        Field("x", "int64", ge=1.5, le=2.5),
        Field("x", "int64", ge=1e17),
        Field("x", "int64"),
    ],
)
def test_values_keep_to_their_bounds(field: Field) -> None:
    values = values_of(field)
    assert values
    for value in values:
        assert field.ge is None or value >= field.ge
        assert field.le is None or value <= field.le
        assert isinstance(value, int if field.dtype == "int64" else float)


def test_an_example_of_ones_own_comes_first_and_loses_its_values_in_turn() -> None:
    view = on_demand(inputs=["v:age", "word"], example={"v:age": [1, 2], "word": ["x", "y"]})
    example = example_of(view, {"v": VIEW})
    assert example["v__age"].to_pylist() == [1, 2, None, 1, None]
    assert example["word"].to_pylist() == ["x", "y", "x", None, None]


@pytest.mark.parametrize(
    ("ages", "message"),
    [
        (["a", "b"], "on-demand view 'od@1': example: column 'v__age' must be int64, got string"),
        ([1, "b"], "example: column 'v__age' must hold one type"),
        ([1, 2**70], "example: column 'v__age'"),
    ],
)
def test_an_example_of_other_types_is_refused(ages: list[Any], message: str) -> None:
    view = on_demand(inputs=["v:age"], request_types={}, example={"v:age": ages})
    with pytest.raises(SchemaMismatch) as caught:
        example_of(view, {"v": VIEW})
    assert message in str(caught.value)
