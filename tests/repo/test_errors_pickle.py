"""Every error crosses process borders (style.md 3.5)."""

from __future__ import annotations

import copy
import pickle

import pytest

from raymlops import errors
from raymlops.errors import DeploymentNotFound, ModelVersionNotFound, RaymlopsError

CLASSES = [getattr(errors, name) for name in errors.__all__]


@pytest.mark.parametrize("cls", CLASSES)
def test_round_trip_keeps_class_message_and_context(cls: type[RaymlopsError]) -> None:
    error = cls("table 'x' must have 3 rows, got 2", table="x", rows=2)
    for copied in (pickle.loads(pickle.dumps(error)), copy.deepcopy(error)):
        assert type(copied) is cls
        assert str(copied) == str(error)
        assert copied.context == {"table": "x", "rows": 2}
        assert copied.retryable is cls.retryable


@pytest.mark.parametrize("cls", CLASSES)
def test_no_subclass_has_an_init_of_its_own(cls: type[RaymlopsError]) -> None:
    assert cls is RaymlopsError or "__init__" not in vars(cls)
    assert issubclass(cls, RaymlopsError)
    assert cls.__doc__


@pytest.mark.parametrize(
    "error", [ModelVersionNotFound.of("m", 3), ModelVersionNotFound.of("m"), DeploymentNotFound.of("m")]
)
def test_errors_made_by_classmethods_too(error: RaymlopsError) -> None:
    copied = pickle.loads(pickle.dumps(error))
    assert (str(copied), copied.context) == (str(error), error.context)


def test_every_error_class_is_exported() -> None:
    defined = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)}
    assert defined == set(errors.__all__)
