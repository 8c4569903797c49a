"""Unit tests run without Ray: importing it raises, in their bodies and while they are collected."""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def _ray_forbidden() -> Iterator[None]:
    missing = object()
    before = sys.modules.get("ray", missing)
    sys.modules["ray"] = None  # type: ignore[assignment]  # how Python is told that an import must fail
    try:
        yield
    finally:
        if before is missing:
            del sys.modules["ray"]
        else:
            sys.modules["ray"] = before  # type: ignore[assignment]


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
