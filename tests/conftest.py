"""Order of the whole suite: what is quick and needs no cluster comes first."""

from __future__ import annotations

from pathlib import Path

import pytest

_ROOT = Path(__file__).parent
_ORDER = {"unit": 0, "repo": 1, "contract": 2, "ray": 3, "e2e": 4}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # The cluster of tests/ray lives until the session ends, and its threads import ray, which unit tests forbid.
    items.sort(key=_rank)


def _rank(item: pytest.Item) -> int:
    if item.get_closest_marker("e2e"):
        return _ORDER["e2e"]
    if item.get_closest_marker("ray"):
        return _ORDER["ray"]
    if item.path.is_relative_to(_ROOT):
        return _ORDER.get(item.path.relative_to(_ROOT).parts[0], 2)
    return _ORDER["contract"]
