from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from raymlops.errors import AlreadyRegistered, ConfigError, DataError
from raymlops.features import Field, OnDemandView
from raymlops.features.catalog.catalog_file import Catalog
from raymlops.features.definitions.on_demand import OnDemandFunction
from raymlops.features.definitions.source_code import function_source
from raymlops.tables.columns import INSTANT

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


def test_no_rows_are_not_asked_about() -> None:
    computed = OnDemandFunction(view("raising", Field("y", "int64"), Field("at", "timestamp"))).compute({}, 0)
    assert {name: (column.type, len(column)) for name, column in computed.items()} == {
        "od__y": (pa.int64(), 0),
        "od__at": (INSTANT, 0),
    }


def writing(columns: Any) -> Any:
    columns["x"][0] = 0.0
    return {"y": columns["x"]}


@pytest.mark.parametrize("values", [[1.0, 2.0], [1.0, None], [1, 2]])
def test_inputs_cannot_be_written_to(values: list[Any]) -> None:
    with pytest.raises(DataError, match="read-only"):
        OnDemandFunction(view("writing")).compute({"x": pa.array(values)}, 2)


class Module:
    """A module that is written, and loaded by this process."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.view = OnDemandView("od", ["x"], [Field("y", "float64")], f"{path.stem}:f")

    def write(self, text: str) -> OnDemandView:
        """The view as it is applied with this code."""
        self._path.write_text(text)
        importlib.invalidate_caches()
        return replace(self.view, code=function_source(self.view.function).digest)


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Module]:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    made = Module(tmp_path / f"written_{tmp_path.name.replace('-', '_')}.py")
    yield made
    sys.modules.pop(made.view.function.partition(":")[0], None)


def test_only_the_code_that_was_applied_is_called(module: Module) -> None:
    first = module.write("def f(columns):\n    return {'y': columns['x'] * 2}\n")
    assert OnDemandFunction(first).compute({"x": pa.array([3.0])}, 1)["od__y"].to_pylist() == [6.0]
    second = module.write("def f(columns):\n    return {'y': columns['x'] * 5}\n")
    with pytest.raises(ConfigError, match=r"must be what was applied, .* give the changed function a new name"):
        OnDemandFunction(first)
    assert OnDemandFunction(second).compute({"x": pa.array([3.0])}, 1)["od__y"].to_pylist() == [15.0]


def test_a_function_that_was_added_since_the_module_was_loaded_is_found(module: Module) -> None:
    old = module.write("def f(columns):\n    return {'y': columns['x'] * 2}\n")
    OnDemandFunction(old)
    text = "def f(columns):\n    return {'y': columns['x'] * 2}\ndef g(columns):\n    return {'y': columns['x'] * 3}\n"
    assert module.write(text).code == old.code
    new = replace(old, function=old.function[:-1] + "g", code="")
    assert OnDemandFunction(new).compute({"x": pa.array([3.0])}, 1)["od__y"].to_pylist() == [9.0]
    assert OnDemandFunction(old).compute({"x": pa.array([3.0])}, 1)["od__y"].to_pylist() == [6.0]


def test_a_module_that_raises_is_named(module: Module) -> None:
    module.write("raise RuntimeError('half done')\ndef f(columns):\n    return {}\n")
    with pytest.raises(ConfigError, match=r"on-demand view 'od@1': cannot import .*RuntimeError\('half done'\)"):
        OnDemandFunction(module.view)


def test_a_changed_function_under_the_same_version_is_refused(module: Module, tmp_path: Path) -> None:
    module.write("def f(columns):\n    return {'y': columns['x'] * 2}\n")
    catalog = Catalog(tmp_path / "catalog.json")
    catalog.apply([module.view])
    assert catalog.apply([module.view]).unchanged == ("on-demand view od@1",)
    module.write("def f(columns):\n    return {'y': columns['x'] * 5}\n")
    with pytest.raises(AlreadyRegistered, match=r"code \w{12} -> \w{12}: give the changed one a new version \(2 is"):
        catalog.apply([module.view])
    catalog.apply([replace(module.view, version=2)])
    digests = {applied.view.digest for applied in catalog.state().on_demand.values()}
    assert len(digests) == 2
