"""Names that are loaded when they are asked for."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import raymlops
from raymlops.lazy import lazy_names

LAZY = sorted(
    path for path in Path(raymlops.__file__).parent.glob("*/__init__.py") if "lazy_names(" in path.read_text("utf-8")
)
PACKAGES = [
    "raymlops.features",
    "raymlops.metadata",
    "raymlops.monitoring",
    "raymlops.steps",
    "raymlops.laboratory",
    "raymlops.tables",
    "raymlops.control",
    "raymlops.projects",
    "raymlops.replay",
]


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_of_a_package_is_there(package: str) -> None:
    module = __import__(package, fromlist=["__all__"])
    for name in module.__all__:
        assert getattr(module, name).__class__ is not type(sys), name
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'nothing'"):
        _ = module.nothing


@pytest.mark.parametrize("path", LAZY, ids=lambda path: path.parent.name)
def test_what_is_loaded_is_what_type_checkers_see(path: Path) -> None:
    """On the source: the names of ``raymlops.runtime`` load Ray, which no unit test may."""
    package = f"raymlops.{path.parent.name}"
    tree = ast.parse(path.read_text(encoding="utf-8"))
    (modules,) = (
        ast.literal_eval(node.args[1])
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "lazy_names"
    )
    seen = {
        (node.module, name.name)
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for name in node.names
    }
    full = {
        module if module.startswith("raymlops.") else f"{package}.{module}": names for module, names in modules.items()
    }
    assert seen == {(module, name) for module, names in full.items() for name in names}


def test_a_name_that_is_a_module_too_is_refused() -> None:
    with pytest.raises(ValueError, match=r"names of p must not be modules of it, got \['judge'\]"):
        lazy_names("p", {"judge": ["judge"]})


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("from raymlops.features import Entity, FeatureView, FeatureService", ["pyarrow", "polars", "deltalake"]),
        ("from raymlops.metadata import Metadata", ["sqlalchemy"]),
        ("import raymlops.monitoring", ["scipy", "polars"]),
        ("import raymlops.cli.main", ["pyarrow", "numpy", "scipy", "sqlalchemy", "ray"]),
    ],
)
def test_who_needs_little_imports_little(statement: str, absent: list[str]) -> None:
    """In a process of its own: this one has imported everything."""
    program = f"{statement}\nimport sys\nprint([name for name in {absent!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr
