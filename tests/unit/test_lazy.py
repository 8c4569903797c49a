"""Names that are loaded when they are asked for."""

from __future__ import annotations

import subprocess
import sys

import pytest

from raymlops.lazy import lazy_names

PACKAGES = ["raymlops.features", "raymlops.metadata", "raymlops.monitoring", "raymlops.steps"]


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_of_a_package_is_there(package: str) -> None:
    module = __import__(package, fromlist=["__all__"])
    for name in module.__all__:
        assert getattr(module, name).__class__ is not type(sys), name
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'nothing'"):
        _ = module.nothing


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
