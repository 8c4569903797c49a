from __future__ import annotations

from typing import Any

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
        (lambda: FeatureService("s", []), "features must not be empty"),
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


def test_digests() -> None:
    assert on_demand().digest == on_demand(fields=[Field("ratio", "float64", description="d")]).digest
    others = [on_demand(function="m:g"), on_demand(version=2), on_demand(request_types={"y": "int64"})]
    assert len({view.digest for view in [on_demand(), *others]}) == 4
    assert FeatureService("s", ["v:x", "v:y"]).digest != FeatureService("s", ["v:y", "v:x"]).digest
    assert FeatureService("s", ["v:x"], version=2).ref == "s@2"
