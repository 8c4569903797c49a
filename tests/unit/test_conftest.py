"""The guard itself: no unit test can reach Ray."""

from __future__ import annotations

import importlib

import pytest

with pytest.raises(ImportError):
    importlib.import_module("ray")


@pytest.mark.parametrize("name", ["ray", "ray.serve", "raymlops.runtime.cluster.clients"])
def test_ray_cannot_be_imported(name: str) -> None:
    with pytest.raises(ImportError):
        importlib.import_module(name)
