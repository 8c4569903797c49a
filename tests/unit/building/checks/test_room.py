"""The process that checks a project: what it finds, and what becomes of one that does not end."""

from __future__ import annotations

from pathlib import Path

import pytest

from raymlops.building import check_behaviour
from raymlops.building.checks.suite import CHECKS, run_checks
from tests.unit.projects.test_making import make

DEFINITIONS = """
from raymlops.features import FeatureService
DEFINITIONS = [FeatureService("toy", [])]
"""
PROJECT = """
name: toy
model: toy
definitions: toy_definitions:DEFINITIONS
service: toy
spine: toy_definitions:spine
"""


def _project(directory: Path, code: str) -> Path:
    (directory / "project.yaml").write_text(PROJECT)
    (directory / "toy_definitions.py").write_text(code)
    return directory


@pytest.mark.slow
def test_a_generated_project_passes_every_check_without_ray(tmp_path: Path) -> None:
    made = make("orders", tmp_path)
    (made.directory / "ray.py").write_text("raise ImportError('the checks need no Ray')\n")
    results = check_behaviour(made.directory)
    assert {each.name: each.outcome for each in results} == dict.fromkeys(CHECKS, "passed"), results
    assert all(each.evidence and each.seconds >= 0 for each in results)


@pytest.mark.slow
def test_the_flights_pass(flights_project: Path) -> None:
    results = check_behaviour(flights_project)
    found = {each.name: each.outcome for each in results}
    functions = ("features_on_edge_values", "features_batch_equals_rows")
    assert found == {name: "not_applicable" if name in functions else "passed" for name in CHECKS}, results


def test_without_a_sample_the_checks_of_it_do_not_apply_and_say_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(_project(tmp_path, DEFINITIONS)))
    started: list[str] = []
    results = list(run_checks(tmp_path, tmp_path / "work", started.append))
    assert started == [each.name for each in results] == list(CHECKS)
    assert {each.outcome for each in results} == {"not_applicable"}
    assert len(results) == len(CHECKS)
    assert "neither tests/rows.parquet with a section data, nor replay.source" in results[-1].evidence


@pytest.mark.parametrize(
    ("code", "evidence"),
    [
        ("while True: pass\n", "was not done after 0.5 s in all"),
        ("1 / 0\n", "ended the process with code 1: ZeroDivisionError: division by zero"),
    ],
)
def test_a_project_that_does_not_let_itself_be_checked_has_failed(tmp_path: Path, code: str, evidence: str) -> None:
    (result,) = check_behaviour(_project(tmp_path, code), timeout_s=0.5 if "while" in code else 60.0)
    assert (result.name, result.outcome) == ("project_can_be_read", "failed")
    assert result.evidence.startswith(evidence)
