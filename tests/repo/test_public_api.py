"""Public names: sorted, existing, described, and those that interface.md promises."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = sorted(
    f"raymlops.{path.parent.name}"
    for path in (ROOT / "raymlops").glob("*/__init__.py")
    if path.parent.name not in {"runtime", "cli", "records", "testing", "jobs", "serve_apps"}
)
PUBLIC = ["raymlops", "raymlops.clock", "raymlops.errors", *PACKAGES]


def load(name: str) -> ModuleType:
    return importlib.import_module(name)


def rank(name: str) -> tuple[int, str]:
    """Constants, then classes, then the rest, as ruff sorts them (RUF022)."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2), name


def test_the_packages_are_found() -> None:
    assert {"raymlops.config", "raymlops.control"} <= set(PACKAGES)


@pytest.mark.parametrize("name", PUBLIC)
def test_all_is_sorted_and_exists(name: str) -> None:
    module = load(name)
    assert module.__doc__
    assert list(module.__all__) == sorted(module.__all__, key=rank)
    assert len(set(module.__all__)) == len(module.__all__)
    for public in module.__all__:
        assert getattr(module, public) is not None


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_has_a_docstring(name: str) -> None:
    module = load(name)
    described = [getattr(module, public) for public in module.__all__ if not public.startswith("__")]
    bare = [each for each in described if (inspect.isclass(each) or inspect.isroutine(each)) and not each.__doc__]
    assert bare == []


@pytest.mark.parametrize("name", PUBLIC)
def test_methods_of_public_protocols_have_docstrings(name: str) -> None:
    module = load(name)
    bare = [
        f"{public}.{method}"
        for public in module.__all__
        if getattr(getattr(module, public), "_is_protocol", False)
        for method, value in vars(getattr(module, public)).items()
        if inspect.isfunction(value) and not method.startswith("_") and not value.__doc__
    ]
    assert bare == []


FEATURES = {
    "Entity": "name keys",
    "Field": "name dtype nullable ge le allowed description",
    "FeatureView": "name entity fields event_time created_at ttl source owner description tags version",
    "FeatureService": "name features version",
    "OnDemandView": "",
    "WindowAggregate": "",
    "point_in_time_join": "spine views tables event_time knowledge_cutoff",
}


@pytest.mark.parametrize(("name", "parameters"), FEATURES.items())
def test_feature_definitions(name: str, parameters: str) -> None:
    found = list(inspect.signature(getattr(load("raymlops.features"), name)).parameters)
    assert found[: len(parameters.split())] == parameters.split()


@pytest.mark.parametrize(
    ("name", "methods"),
    [("Reference", "fit profile compare dumps loads"), ("ErrorStream", "update")],
)
def test_monitoring(name: str, methods: str) -> None:
    cls = getattr(load("raymlops.monitoring"), name)
    assert [method for method in methods.split() if not callable(getattr(cls, method, None))] == []


PLATFORM = {
    "features": "ingest materialize online training_set audit",
    "models": "register list get history serving_at lineage",
    "endpoints": "deploy trial promote rollback plan",
    "labels": "record",
    "monitor": "report",
    "runs": "start list get compare resume",
    "control": "step status why pause resume backtest",
    "delivery": "build verify deploy approve environments",
    "ledger": "entries verify",
}


@pytest.mark.parametrize(("subject", "methods"), PLATFORM.items())
def test_platform(subject: str, methods: str) -> None:
    """A platform that is not connected: each subject is made of what it needs when it is asked for."""
    module = load("raymlops.platform")
    platform = module.Platform(_Anything(), _Anything(), _Anything())
    held = getattr(platform, subject)
    assert [method for method in methods.split() if not callable(getattr(held, method, None))] == []
    assert [method for method in methods.split() if not getattr(held, method).__doc__] == []
    assert callable(platform.apply)
    assert callable(platform.close)


def test_connect() -> None:
    assert list(inspect.signature(load("raymlops").connect).parameters)[:2] == ["address", "config"]


class _Anything:
    """Has every attribute, and none that matters."""

    def __getattr__(self, name: str) -> _Anything:
        return _Anything()

    def __call__(self) -> _Anything:
        return self

    def __truediv__(self, name: str) -> _Anything:
        return self
