from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from raymlops.errors import ConfigError
from raymlops.features import FeatureService, Field, OnDemandView

RATIO = Field("ratio", "float64")


def on_demand(**options: Any) -> OnDemandView:
    given: dict[str, Any] = {"name": "od", "inputs": ["v:x", "y"], "fields": [RATIO], "function": "m:f"} | options
    return OnDemandView(**given)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: FeatureService("s", ["v"]), "feature must be VIEW:FIELD or VIEW@VERSION:FIELD, got 'v'"),
        (lambda: FeatureService("s", ["v@0:x"]), "got 'v@0:x'"),
        (lambda: FeatureService("s", ["v:x", "v@2:x"]), "names must be unique, got 'v__x'"),
        (lambda: FeatureService("s s", ["v:x"]), "service name"),
        (lambda: FeatureService("s", ["v:x"], version=-1), "version"),
        (lambda: on_demand(inputs=[]), "inputs and fields must not be empty"),
        (lambda: on_demand(fields=[]), "inputs and fields must not be empty"),
        (lambda: on_demand(inputs=["v:"]), "feature must be VIEW:FIELD"),
        (lambda: on_demand(inputs=["_seq"]), "does not start with '_'"),
        (lambda: on_demand(inputs=["y", "y"]), "more than once"),
        (lambda: on_demand(function="m.f"), "function must be module:function, got 'm.f'"),
        (lambda: on_demand(request_types={"z": "string"}), "for a plain input, got 'z'"),
        (lambda: on_demand(request_types={"y": "text"}), "got 'y': 'text'"),
        (lambda: on_demand(request_types=["y"]), "request_types must be a mapping"),
        (lambda: on_demand(inputs="v:x"), "inputs must be a list, got 'v:x'"),
        (lambda: on_demand(inputs=["v:x", "v__x"]), "names must be unique, got 'v__x' more than once"),
        (lambda: on_demand(inputs=["v:x", "v@2:x"]), "names must be unique, got 'v__x' more than once"),
        (lambda: on_demand(fields=["ratio"]), "fields must hold Field only, got 'ratio'"),
        (lambda: on_demand(function="__main__:f"), "in a module that other processes can import, got '__main__:f'"),
        (lambda: on_demand(function=None), "function must be module:function, got None"),
        (lambda: on_demand(example={"y": [1, 2]}), r"example must have columns \['v__x', 'y'\], got \['y'\]"),
        (lambda: on_demand(example={"v:x": [1], "v__x": [1], "y": [1]}), "got 'v__x' more than once"),
        (lambda: on_demand(example={"v:x": [1], "y": [1]}), "same number of rows, two to 1,000, in every column, got"),
        (lambda: on_demand(example={"v:x": [1] * 1001, "y": [1] * 1001}), "got {'v__x': 1001, 'y': 1001}"),
        (lambda: on_demand(example={"v:x": [1, 2], "y": [1, 2, 3]}), "got {'v__x': 2, 'y': 3}"),
        (lambda: on_demand(example=5), "example must be a table or a mapping of columns, got 5"),
        (lambda: on_demand(example={"v:x": 1, "y": 2}), "example: 'v:x' must be a list, got 1"),
        (lambda: FeatureService("s", "v:x"), "features must be a list, got 'v:x'"),
        (lambda: FeatureService("s", [5]), "features must hold str only, got 5"),
    ],
)
def test_wrong_definitions_are_refused_by_name_and_rule(wrong: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        wrong()


def test_inputs_are_features_or_request_columns() -> None:
    view = on_demand(inputs=["v:x", "y", "w@2:z"])
    assert view.feature_inputs == ("v:x", "w@2:z")
    assert view.request_inputs == ("y",)
    assert view.ref == "od@1"


@pytest.mark.parametrize(
    "example",
    [
        {"v:x": [1.0, None], "y": (2, 3)},
        {"v__x": np.array([1.0, 2.0]), "y": pa.array([2, 3])},
        pa.table({"v__x": [1.0, 2.0], "y": [2, 3]}),
        pd.DataFrame({"v__x": [1.0, 2.0], "y": [2, 3]}),
    ],
)
def test_examples_are_kept_by_the_names_that_the_function_sees(example: Any) -> None:
    view = on_demand(example=example)
    assert view.example is not None
    assert view.example["y"] == (2, 3)
    assert view.example["v__x"][0] == 1.0
    assert (view.digest, view) == (on_demand().digest, on_demand())
    assert hash(view) == hash(on_demand())


def test_the_digest_covers_the_code_once_it_is_known() -> None:
    digests = {on_demand(code=code).digest for code in ("", "1" * 64, "2" * 64)}
    assert len(digests) == 3


def test_digests() -> None:
    assert on_demand().digest == on_demand(fields=[Field("ratio", "float64", description="d")]).digest
    others = [on_demand(function="m:g"), on_demand(version=2), on_demand(request_types={"y": "int64"})]
    assert len({view.digest for view in [on_demand(), *others]}) == 4
    assert FeatureService("s", ["v:x", "v:y"]).digest != FeatureService("s", ["v:y", "v:x"]).digest
    assert FeatureService("s", ["v:x"], version=2).ref == "s@2"
