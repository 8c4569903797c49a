"""SIGKILL of a training run's driver and of its metadata at random points: nothing is lost, doubled or half done.

``RAYMLOPS_KILLED_RUNS`` (3 by default) says how many runs are killed, ``RAYMLOPS_KILLED_FROM`` with which seed they
begin; each takes some seconds. All but the first are marked slow.
"""

from __future__ import annotations

import os
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from raymlops.clock import ManualClock
from raymlops.metadata import MetadataService
from raymlops.records.runs import Run, RunStatus, StepStatus
from raymlops.serving.models.model_files import load_model
from tests.support.killed_training import NOW, Story
from tests.support.training_project import PROJECT, fill

RUNS = int(os.environ.get("RAYMLOPS_KILLED_RUNS", "3"))
FIRST = int(os.environ.get("RAYMLOPS_KILLED_FROM", "1"))
SEEDS = [pytest.param(FIRST + more, marks=[pytest.mark.slow] if more else []) for more in range(RUNS)]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a filled feature store, and beside it the project."""
    home = tmp_path_factory.mktemp("killed") / "template"
    fill(home)
    return home


@pytest.fixture(scope="module")
def reference(template: Path) -> Any:
    """The run that nobody kills, and how long it takes."""
    started = time.monotonic()
    home = template.parent / "reference"
    story = Story(template, home, template.parent / "project", PROJECT, seed=-1, span_s=0.0)
    story.undisturbed()
    took_s = time.monotonic() - started
    with closing(MetadataService(home / "metadata.db", clock=ManualClock(NOW))) as metadata:
        (version,) = metadata.models.list_versions("toy")
        return version, _outcome(metadata.runs.get_run("run-0")), took_s


def _outcome(run: Run) -> dict[str, Any]:
    """What a run came to, without what is measured in seconds."""
    return {
        name: run.result[name] for name in ("outcome", "reason", "metrics", "comparison", "model_digest", "version")
    }


@pytest.mark.parametrize("seed", SEEDS)
def test_a_killed_run_comes_to_the_same_end(template: Path, reference: Any, tmp_path: Path, seed: int) -> None:
    expected, outcome, took_s = reference
    home = tmp_path / "home"
    story = Story(template, home, template.parent / "project", PROJECT, seed, span_s=took_s)
    story.tell()
    with closing(MetadataService(home / "metadata.db", clock=ManualClock(NOW))) as metadata:
        runs = metadata.runs.list_runs()
        assert {run.status for run in runs} <= {RunStatus.SUCCEEDED, RunStatus.FAILED}, story.killed
        # more than one, where a driver was killed between its success and its exit, and was resumed all the same
        ended = [run for run in runs if run.status is RunStatus.SUCCEEDED]
        assert ended
        for done in ended:
            assert _outcome(done) == outcome
            assert not [step for step in done.steps if step.status is StepStatus.RUNNING]
        (version,) = metadata.models.list_versions("toy")
        assert (version.digest, version.metrics) == (expected.digest, expected.metrics)
        load_model(Path(version.path), version.manifest, version.digest)
        assert metadata.artifacts.lineage_of(done.steps[-1].outputs["result"]).run_ids
        packages = [path for path in (home / "models" / "toy").iterdir() if not path.name.startswith(".")]
        assert packages == [Path(version.path)], "no half-registered model"
