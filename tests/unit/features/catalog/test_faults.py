from __future__ import annotations

import pickle

import pytest

from raymlops.errors import AlreadyRegistered, ConfigError, FeatureViewNotFound, RaymlopsError, SchemaMismatch
from raymlops.features.catalog.faults import Faults


def noted(*errors: RaymlopsError) -> Faults:
    faults = Faults()
    for error in errors:
        with faults.noted("view 'v@1'"):
            raise error
    return faults


def test_without_faults_nothing_is_raised() -> None:
    noted().raise_if_any()


@pytest.mark.parametrize("kind", [AlreadyRegistered, FeatureViewNotFound, ConfigError])
def test_a_single_fault_keeps_its_type_and_context(kind: type[RaymlopsError]) -> None:
    with pytest.raises(kind) as caught:
        noted(kind("wrong", name="x")).raise_if_any()
    assert type(caught.value) is kind
    assert str(caught.value) == "view 'v@1': wrong"
    assert caught.value.context == {"name": "x", "faults": ["view 'v@1': wrong"]}


@pytest.mark.parametrize(
    ("errors", "gravest"),
    [
        ([ConfigError("a"), AlreadyRegistered("b"), FeatureViewNotFound("c")], AlreadyRegistered),
        ([ConfigError("a"), FeatureViewNotFound("b")], FeatureViewNotFound),
        ([ConfigError("a"), SchemaMismatch("b")], ConfigError),
    ],
)
def test_of_several_the_gravest_gives_the_type(errors: list[RaymlopsError], gravest: type[RaymlopsError]) -> None:
    with pytest.raises(gravest) as caught:
        noted(*errors).raise_if_any()
    assert type(caught.value) is gravest
    faults = [f"view 'v@1': {error}" for error in errors]
    assert caught.value.context["faults"] == faults
    assert str(caught.value) == f"{len(errors)} faults: " + "; ".join(faults)
    assert pickle.loads(pickle.dumps(caught.value)).context["faults"] == faults


def test_what_is_no_fault_of_a_definition_goes_through() -> None:
    with pytest.raises(ZeroDivisionError), Faults().noted():
        _ = 1 / 0
