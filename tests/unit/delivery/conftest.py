from __future__ import annotations

from pathlib import Path

import pytest

from raymlops.clock import ManualClock
from raymlops.delivery import build_bundle
from raymlops.records.bundles import BundleManifest
from raymlops.testing.metadata_examples import EPOCH

PROJECT = """
name: flights
model: flight-delay
definitions: definitions:all_of_them
service: delays
spine: definitions:spine
training:
  trials: 8
"""

TESTS = """
import os
from definitions import double

def test_double():
    assert double(2) == 4
    assert "real-home" not in os.environ["RAYMLOPS_HOME"]
    assert "PYTEST_ADDOPTS" not in os.environ
"""


def write_project(directory: Path) -> Path:
    """A small project whose tests pass."""
    for name, content in {
        "project.yaml": PROJECT,
        "definitions.py": "def double(x):\n    return 2 * x\n",
        "tests/test_definitions.py": TESTS,
        "run.sh": "#!/bin/sh\n",
        "__pycache__/definitions.cpython-311.pyc": "no source",
        ".git/HEAD": "no source",
        "tests/.hidden": "no source",
    }.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    (directory / "run.sh").chmod(0o700)
    return directory


def replace_pytest(project: Path, code: str) -> None:
    """Give a project a module ``pytest`` of its own: ``python -m pytest`` runs that, and starts at once."""
    (project / "pytest.py").write_text(code)


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, BundleManifest]:
    """The bundles' root and the one bundle in it; not to be changed."""
    home = tmp_path_factory.mktemp("delivery")
    project = write_project(home / "project")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAYMLOPS_HOME", str(home / "real-home"))
        patch.setenv("PYTEST_ADDOPTS", "--no-such-option")
        return home / "bundles", build_bundle(project, home / "bundles", ManualClock(EPOCH))
