"""``raymlops delivery check``, ``build`` and ``verify``, where no platform runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from raymlops.cli.main import app

PROJECT = """
name: ratios
model: ratios
definitions: ratios:DEFINITIONS
service: ratios
spine: ratios:spine
request_columns: [spent, visits]
"""
CODE = """
import numpy as np
from raymlops.features import FeatureService, Field, OnDemandView

DEFINITIONS = [
    OnDemandView("per_visit", ["spent", "visits"], [Field("ratio", "float64")], "ratios:ratio"),
    FeatureService("ratios", ["per_visit:ratio"]),
]

def ratio(columns):
    return {"ratio": columns["spent"] / columns["visits"]}

def spine(tables, start, end):
    raise NotImplementedError
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RAYMLOPS_HOME", str(tmp_path / "home"))
    place = tmp_path / "project"
    (place / "tests").mkdir(parents=True)
    (place / "project.yaml").write_text(PROJECT)
    (place / "ratios.py").write_text(CODE)
    (place / "tests" / "test_it.py").write_text("def test_it():\n    assert 1 + 1 == 2\n")
    return place


def _run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["delivery", *arguments])


def test_a_feature_that_divides_by_zero_is_found_and_a_guarded_one_is_built(project: Path) -> None:
    checked = _run("check", str(project), "--json")
    assert checked.exit_code == 1
    first, *others = json.loads(checked.stdout)
    assert (first["name"], first["outcome"]) == ("features_on_edge_values", "failed")
    assert {each["outcome"] for each in others} == {"passed", "not_applicable"}
    guarded = CODE.replace('columns["spent"] / columns["visits"]', 'columns["spent"] * columns["visits"]')
    (project / "ratios.py").write_text(guarded)
    built = _run("build", str(project), "--offline")
    assert built.exit_code == 0, built.stderr
    assert built.stderr.startswith("note: the lock names what is installed, without the hashes of an index")
    told = json.loads(built.stdout)
    assert told["checks"] == {"passed": 2, "failed": 0, "not_applicable": 9}
    assert told["lock_from"] == "installed"
    verified = _run("verify", told["digest"])
    assert json.loads(verified.stdout) == {"digest": told["digest"], "verified": True}
    refused = _run("install", told["digest"])
    assert refused.exit_code == 1
    assert refused.stderr.rstrip().endswith("wheels: the bundle carries no wheels")


def test_what_cannot_be_checked_is_one_line(project: Path) -> None:
    (project / "project.yaml").unlink()
    for command in ("check", "lock", "build"):
        found = _run(command, str(project))
        assert found.exit_code == 1
        assert "project.yaml: a project must have it" in " ".join(found.stderr.split())
