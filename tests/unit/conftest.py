"""Unit tests run without Ray: importing it raises, in their bodies and while they are collected."""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def _ray_forbidden() -> Iterator[None]:
    # None is how Python is told that an import must fail; a submodule that is loaded would be found without its parent.
    # Without it there is none: so thousands of modules are not looked through before each of thousands of tests.
    there = sys.modules.items() if "ray" in sys.modules else ()
    loaded = {name: module for name, module in there if name == "ray" or name.startswith("ray.")}
    sys.modules.update(dict.fromkeys(["ray", *loaded]))  # type: ignore[arg-type]
    try:
        yield
    finally:
        del sys.modules["ray"]
        sys.modules.update(loaded)


@pytest.fixture(autouse=True)
def _no_ray() -> Iterator[None]:
    with _ray_forbidden():
        yield


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    if not isinstance(collector, pytest.Module):
        return (yield)
    with _ray_forbidden():
        return (yield)
