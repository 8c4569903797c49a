"""What the import linter does not see: that importing a core package really leaves Ray out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHELL = {"runtime", "cli", "serve_apps"}
CORES = sorted(path.parent.name for path in (ROOT / "raymlops").glob("*/__init__.py") if path.parent.name not in SHELL)


def test_the_cores_are_found() -> None:
    assert {"config", "control", "records", "testing"} <= set(CORES)


def test_no_core_imports_ray() -> None:
    """One process for all: each core's modules, one after the other, with the first culprit named."""
    program = f"""
import importlib, pkgutil, sys
import raymlops
assert "ray" not in sys.modules, "raymlops imports ray"
for core in {CORES!r}:
    package = importlib.import_module("raymlops." + core)
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if module.name == "raymlops.metadata.sql.migrations.env":
            continue  # Alembic runs it, and nobody else can
        importlib.import_module(module.name)
        assert "ray" not in sys.modules, module.name + " imports ray"
"""
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True, cwd=ROOT, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("name", ["raymlops", "raymlops.platform"])
def test_the_front_doors_open_without_ray(name: str) -> None:
    program = f"import sys; import {name}; sys.exit('ray' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True, cwd=ROOT, timeout=60
    )
    assert done.returncode == 0, done.stderr[-2000:]
