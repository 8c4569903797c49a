from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymlops.errors import ConfigError
from raymlops.pipelines import Step, fingerprint
from raymlops.pipelines.fingerprint import _code_digest, _sources_digest, code_digest, environment_digest, key_parts


def _function(context: object, **_: Any) -> dict[str, Any]:
    return {}


def _key(parameters: Any = None, inputs: Any = None, *, run_id: str = "r", env: str = "e", **fields: Any) -> str:
    step = Step(**{"name": "a", "function": _function, "outputs": {"x": "json"}, **fields})
    return key_parts(step, parameters or {}, inputs or {}, environment=env, run_id=run_id).key


def test_the_key_follows_all_that_an_outcome_depends_on() -> None:
    keys = [
        _key(),
        _key(name="b"),
        _key(function=_key),
        _key({"seed": 1}),
        _key({"seed": 2}),
        _key({"seed": "1"}),
        _key({"see": "d1"}),
        _key(None, {"frame": "d1"}),
        _key(None, {"frame": "d2"}),
        _key(env="f"),
        _key(outputs={"x": "bytes"}),
    ]
    assert len(set(keys)) == len(keys)
    assert _key({"a": 1, "b": 2}) == _key({"b": 2, "a": 1})


def test_a_run_takes_over_from_another_only_what_is_deterministic() -> None:
    assert _key(run_id="r1") == _key(run_id="r2")
    assert _key(run_id="r1", deterministic=False) != _key(run_id="r2", deterministic=False)
    assert _key(run_id="r1", deterministic=False) == _key(run_id="r1", deterministic=False)


@given(st.dictionaries(st.text(max_size=4), st.text(max_size=4), min_size=1, max_size=3))
def test_names_and_values_are_not_mixed_up(parameters: dict[str, str]) -> None:
    glued = {"".join(name + value for name, value in parameters.items()): ""}
    assert (_key(parameters) == _key(glued)) is (parameters == glued)


def test_a_parameter_that_is_no_json_is_refused() -> None:
    with pytest.raises(ConfigError, match="JSON values"):
        _key({"f": object()})


@pytest.fixture
def project(tmp_path: Path) -> Iterator[tuple[Path, ModuleType]]:
    """A user's package of two modules, of which the first holds the step."""
    root = tmp_path / "fingerprinted"
    (root / "inner").mkdir(parents=True)
    (root / "__init__.py").write_text("")
    (root / "steps.py").write_text("def step(context):\n    return {}\n")
    (root / "inner" / "helper.py").write_text("X = 1\n")
    for name, file in (("fingerprinted", root / "__init__.py"), ("fingerprinted.steps", root / "steps.py")):
        spec = importlib.util.spec_from_file_location(
            name, file, submodule_search_locations=[str(root)] if name == "fingerprinted" else None
        )
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    yield root, sys.modules["fingerprinted.steps"]
    del sys.modules["fingerprinted"], sys.modules["fingerprinted.steps"]


def test_the_code_of_a_step_is_its_whole_package(project: tuple[Path, ModuleType]) -> None:
    root, module = project
    before = code_digest(module.step)
    (root / "inner" / "helper.py").write_text("X = 2\n")
    assert code_digest(module.step) == before
    _code_digest.cache_clear()
    _sources_digest.cache_clear()
    assert code_digest(module.step) != before


def test_a_function_without_a_file_has_no_code(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("typed_in")
    exec("def step(context):\n    return {}\n", module.__dict__)
    monkeypatch.setitem(sys.modules, "typed_in", module)
    with pytest.raises(ConfigError, match="must be defined in a file"):
        code_digest(module.step)


def test_the_environment_is_the_versions() -> None:
    assert environment_digest(["numpy"]) == environment_digest(["numpy"])
    assert environment_digest(["numpy"]) != environment_digest(["numpy", "pyarrow"])
    with pytest.raises(ConfigError, match="'no-such-library' is not installed"):
        environment_digest(["no-such-library"])


@pytest.fixture
def flat_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Modules side by side, as in a bundle: the step's, one that it imports, and one that that imports in turn."""
    (tmp_path / "flat_steps.py").write_text("import os, flat_near\n\n\ndef step(context):\n    return flat_near.y()\n")
    (tmp_path / "flat_near.py").write_text("import numpy\n\n\ndef y():\n    from flat_far import X\n    return X\n")
    (tmp_path / "flat_far").mkdir()
    (tmp_path / "flat_far" / "__init__.py").write_text("X = 1\n")
    (tmp_path / "flat_alien.py").write_text("X = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in ("flat_steps", "flat_near", "flat_far"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("file", "counts"),
    [("flat_steps.py", True), ("flat_near.py", True), ("flat_far/__init__.py", True), ("flat_alien.py", False)],
)
def test_what_a_step_imports_is_its_code_too(flat_project: Path, file: str, counts: bool) -> None:
    step = importlib.import_module("flat_steps").step
    _code_digest.cache_clear()
    before = code_digest(step)
    with (flat_project / file).open("a") as source:
        source.write("# altered\n")
    _code_digest.cache_clear()
    _sources_digest.cache_clear()
    assert (code_digest(step) != before) is counts


def test_the_code_of_raymlops_is_every_steps_code(flat_project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = importlib.import_module("flat_steps").step
    _code_digest.cache_clear()
    before, real = code_digest(step), fingerprint._sources

    def altered(roots: Any) -> Any:
        for name, content in real(roots):
            yield name, content + (b"#" if name.startswith("raymlops/pipelines/artifacts") else b"")

    monkeypatch.setattr(fingerprint, "_sources", altered)
    _code_digest.cache_clear()
    _sources_digest.cache_clear()
    assert code_digest(step) != before
    _code_digest.cache_clear()
    _sources_digest.cache_clear()


def test_all_libraries_count_where_none_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    before = environment_digest(None)
    real = importlib.metadata.distributions

    class Other:
        metadata: ClassVar = {"Name": "some-library"}
        version = "1.0"

    monkeypatch.setattr(importlib.metadata, "distributions", lambda: [*real(), Other()])
    fingerprint._whole_environment.cache_clear()
    assert environment_digest(None) != before
    fingerprint._whole_environment.cache_clear()
