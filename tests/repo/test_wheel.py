"""The wheel is the product: it works without a clone, from any directory."""

from __future__ import annotations

import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv

import raymlops
from tests.support.wheel import ROOT, Installed, install_wheel

DOORS = """
import importlib, sys
for name in sys.argv[1:]:
    module = importlib.import_module(name)
    assert "site-packages" in module.__file__, module.__file__
print(len(sys.argv) - 1)
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return install_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(3)
    day = np.sort(rng.uniform(0, 120, 600))
    a = rng.normal(size=600)
    at = [(datetime(2025, 1, 1, tzinfo=UTC) + timedelta(days=each)).isoformat() for each in day.tolist()]
    late = np.where(rng.random(600) < 1 / (1 + np.exp(-2 * a)), "yes", "no")
    path = tmp_path_factory.mktemp("table") / "visits.csv"
    csv.write_csv(pa.table({"at": at, "user_id": [f"u{n % 9}" for n in range(600)], "a": a, "late": late}), path)
    return path


def test_one_version_is_said_everywhere(installed: Installed, tmp_path: Path) -> None:
    said = installed.run("raymlops", "--version", cwd=tmp_path)
    assert (said.returncode, said.stdout.strip()) == (0, f"raymlops {raymlops.__version__}")
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == raymlops.__version__
    assert installed.wheel.name == f"raymlops-{raymlops.__version__}-py3-none-any.whl"


@pytest.mark.slow
def test_every_door_is_imported_from_the_wheel(installed: Installed, tmp_path: Path) -> None:
    jobs = [f"raymlops.jobs.{path.stem}" for path in (ROOT / "jobs").glob("[a-z]*.py")]
    apps = [f"raymlops.serve_apps.{path.stem}" for path in (ROOT / "serve_apps").glob("[a-z]*.py")]
    doors = ["raymlops", "raymlops.platform", "raymlops.cli.main", "raymlops.testing", *jobs, *apps]
    done = installed.run("python", "-W", "ignore", "-c", DOORS, *doors, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == len(doors) == 10


def test_the_wheel_carries_all_that_is_no_module(installed: Installed) -> None:
    held = set(ZipFile(installed.wheel).namelist())
    files = [each.relative_to(ROOT) for each in (ROOT / "raymlops").rglob("*") if each.is_file()]
    wanted = {f.as_posix() for f in files if "__pycache__" not in f.parts}
    for folder in ("configs", "examples"):
        found = [each for each in (ROOT / folder).rglob("*") if each.is_file()]
        ours = [f for f in found if not {"__pycache__", ".pytest_cache", ".raymlops"} & set(f.parts)]
        wanted |= {f"raymlops/{f.relative_to(ROOT).as_posix()}" for f in ours}
    assert wanted - held == set()
    assert "raymlops/py.typed" in held


@pytest.mark.slow
def test_a_table_becomes_a_project_and_a_report_without_a_clone(
    installed: Installed, table: Path, tmp_path: Path
) -> None:
    asked = ["--label", "late", "--time", "at"]
    made = installed.run("raymlops", "init", str(table), "visits", *asked, "--entity", "user_id", "--yes", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    assert (tmp_path / "visits" / ".github" / "workflows" / "delivery.yml").exists()
    lab = installed.run("raymlops", "lab", str(table), *asked, "--json", "lab.json", cwd=tmp_path)
    assert lab.returncode == 0, lab.stderr
    assert (tmp_path / "lab.html").stat().st_size > 1000


def test_the_settings_are_written_where_they_are_asked_for(installed: Installed, tmp_path: Path) -> None:
    done = installed.run("raymlops", "configs", "settings", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    written = {each.relative_to(tmp_path / "settings") for each in (tmp_path / "settings").rglob("*.yaml")}
    assert written == {each.relative_to(ROOT / "configs") for each in (ROOT / "configs").rglob("*.yaml")}
    again = installed.run("raymlops", "configs", "settings", cwd=tmp_path)
    assert (again.returncode, again.stderr.strip()) == (
        1,
        "error: settings must be empty or not there: what is in it stays as it is",
    )
