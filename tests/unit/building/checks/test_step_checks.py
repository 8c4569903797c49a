"""The pipeline of a generated project on its sample; and pipelines and spines with faults."""

from __future__ import annotations

import importlib
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from raymlops.building.checks.sample import Sample, open_sample, sample_rows
from raymlops.building.checks.sample_checks import online_equals_offline, rows_alone_equal_rows_together
from raymlops.building.checks.step_checks import (
    Tried,
    answers_as_the_estimator,
    steps_fit_together,
    try_pipeline,
    yields,
)
from raymlops.delivery import read_project
from raymlops.pipelines import Pipeline
from raymlops.steps import training_pipeline
from raymlops.steps.split import split
from tests.unit.projects.test_making import make


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    made = make("houses", tmp_path_factory.mktemp("table"))
    sys.path.insert(0, str(made.directory))
    yield made.directory
    sys.path.remove(str(made.directory))
    for name in [name for name in sys.modules if name.partition(".")[0] == "houses"]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def sample(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sample]:
    spec = read_project(project)
    definitions = importlib.import_module("houses.definitions").DEFINITIONS
    rows = sample_rows(project, spec, definitions)
    assert rows is not None
    with open_sample(rows, spec, definitions, tmp_path_factory.mktemp("store") / "features") as opened:
        assert opened.rows == 300
        yield opened


@pytest.fixture(scope="module")
def tried(sample: Sample, tmp_path_factory: pytest.TempPathFactory) -> Tried:
    return try_pipeline(sample, tmp_path_factory.mktemp("home"))


def test_all_steps_run_on_the_sample_to_a_registered_version(sample: Sample, tried: Tried) -> None:
    assert tried.error is None
    assert tried.done == [step.name for step in training_pipeline(sample.spec).order]
    for check in (yields, steps_fit_together, answers_as_the_estimator):
        assert check(tried).outcome == "passed", check(tried)


def test_features_are_the_same_alone_and_online(sample: Sample, tried: Tried) -> None:
    frame = tried.frame
    assert frame is not None
    for check in (rows_alone_equal_rows_together, online_equals_offline):
        assert check(sample, frame).outcome == "passed", check(sample, frame)
        column = frame.column_names.index("houses_calendar__hour")
        other = frame.set_column(column, "houses_calendar__hour", pa.array([99] * frame.num_rows))
        found = check(sample, other)
        assert (found.outcome, "houses_calendar__hour" in found.evidence) == ("failed", True)


def gives_less(context: object, **given: Any) -> Mapping[str, Any]:
    """The step ``split`` without what it declares."""
    assert split(context, **given)
    return {}


def raises(context: object, **given: Any) -> Mapping[str, Any]:
    raise ZeroDivisionError("division by zero")


@pytest.mark.parametrize(
    ("function", "check", "evidence"),
    [
        (gives_less, yields, "step 'split' must give ['parts'], got []"),
        (gives_less, steps_fit_together, "the run ended at step 'split': step 'split' must give ['parts'], got []"),
        (raises, steps_fit_together, "the run ended at step 'split': ZeroDivisionError: division by zero"),
    ],
)
def test_a_step_that_gives_less_than_it_declares_is_named(
    sample: Sample, tmp_path: Path, function: Any, check: Any, evidence: str
) -> None:
    whole = training_pipeline(sample.spec)
    steps = tuple(replace(step, function=function) if step.name == "split" else step for step in whole.steps)
    broken = Pipeline(whole.name, steps, result=whole.result, libraries=whole.libraries)
    tried = try_pipeline(sample, tmp_path, broken)
    found = check(tried)
    assert (found.outcome, found.evidence) == ("failed", evidence)
    assert answers_as_the_estimator(tried).outcome == "not_applicable"


@pytest.mark.parametrize(
    ("spine", "evidence"),
    [
        ("return spine_of_the_project(tables, start, end).drop_columns(['area'])", "schema skew: spine"),
        ("return spine_of_the_project(tables, end, end)", "empty: no labelled rows"),
    ],
)
def test_a_spine_that_gives_less_than_it_declares_is_named(
    sample: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spine: str, evidence: str
) -> None:
    name = f"less_{tmp_path.name.replace('-', '_')}"
    code = f"from houses.spine import spine as spine_of_the_project\n\ndef spine(tables, start, end):\n    {spine}\n"
    (tmp_path / f"{name}.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    less = replace(sample, spec=sample.spec.model_copy(update={"spine": f"{name}:spine"}))
    tried = try_pipeline(less, tmp_path / "home")
    shutil.rmtree(tmp_path / "home")
    for check in (yields, steps_fit_together):
        found = check(tried)
        assert (found.outcome, evidence in found.evidence) == ("failed", True), found
