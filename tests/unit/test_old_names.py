"""Modules of 0.1 that scripts import are still found under their names."""

from __future__ import annotations

from importlib import import_module

import pytest

MOVED = {
    ("raymlops.features.sources", "FileSource"): "raymlops.tables.sources",
    ("raymlops.serving.model_files", "load_model"): "raymlops.serving.models.model_files",
    ("raymlops.serving.model_files", "save_model"): "raymlops.serving.models.model_files",
}


@pytest.mark.parametrize(("module", "name"), MOVED)
def test_what_has_moved_is_found_where_it_stood(module: str, name: str) -> None:
    assert getattr(import_module(module), name) is getattr(import_module(MOVED[module, name]), name)
