"""A run as a real Ray Job, whose driver, metadata actor and trials are killed: it ends, keeps its logs, is resumed."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import pyarrow as pa
import pytest

from raymlops.delivery import read_project
from raymlops.errors import DeploymentError, ModelLoadFailed, NotFoundError
from raymlops.records.runs import Run, RunStatus, StepStatus
from raymlops.runtime.jobs.run_jobs import JobRunner
from tests.support.killed_project import DEFINITIONS
from tests.support.training_project import PROJECT, SOURCE, tables

if TYPE_CHECKING:
    from raymlops.platform import Platform

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]

DEADLINE_S = 120.0
PARAMETERS = {
    # many small steps: a search that lasts long enough to be killed in
    "search": {"xgboost": {"n_estimators": 1500, "learning_rate": 0.004, "max_depth": {"int": [2, 3]}}},
    "trials": 2,
    "tolerance": 0.0,
    "bootstrap_rounds": 100,
}


@pytest.fixture(scope="module")
def project(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A project that is built and deployed, with data."""
    platform.apply(*DEFINITIONS)
    for view, table in tables().items():
        platform.features.ingest(view, table)
    place = tmp_path_factory.mktemp("project")
    (place / "killed_project.py").write_text(SOURCE)
    (place / "test_it.py").write_text("from killed_project import spine\n\n\ndef test_it():\n    assert spine\n")
    described = PROJECT.model_dump(mode="json")
    (place / "project.yaml").write_text(json.dumps(described))
    platform.delivery.deploy(platform.delivery.build(place).digest)
    return PROJECT.name


def _await(what: str, true: Any) -> Any:
    deadline = time.monotonic() + DEADLINE_S
    while not (found := true()):
        assert time.monotonic() < deadline, f"waited {DEADLINE_S:g} s for {what}"
        time.sleep(0.05)
    return found


def _kill(processes: Callable[[str], list[psutil.Process]], text: str) -> None:
    """SIGKILL each process whose command line holds a text."""
    found = processes(text)
    assert found, f"no process has {text} in its command line"
    for process in found:
        process.kill()


def test_a_run_whose_launcher_was_killed_does_not_wait_for_ever(platform: Platform, project: str) -> None:
    now = platform.clock.now()
    JobRunner(platform.config.home, platform.metadata.runs, platform.clock).announce("never-submitted")
    platform.metadata.runs.create_run(Run(id="never-submitted", pipeline="other", bundle="b" * 64, created_at=now))
    assert platform.runs.get("never-submitted").status is RunStatus.PENDING
    os.utime(platform.config.home / "runs" / "never-submitted" / "announced", (0, 0))
    (found,) = platform.runs.list("other")
    assert (found.status, found.error) == (RunStatus.FAILED, "the job ended: the job is unknown to the cluster")


def test_a_job_that_is_killed_ends_keeps_its_logs_and_is_resumed(
    platform: Platform, processes: Callable[[str], list[psutil.Process]], project: str
) -> None:
    run = platform.runs.start(project, parameters=PARAMETERS, wait=False)
    logs = platform.config.home / "runs" / run.id / "logs"
    _await("the search", lambda: any(logs.glob("*-tune.1.log")))
    _kill(processes, "ray::MetadataActor")
    _kill(processes, run.id)
    ended = _await("the end", lambda: next((r for r in platform.runs.list(project) if r.status.final), None))
    assert (ended.id, ended.status) == (run.id, RunStatus.FAILED)
    assert "job ended" in ended.error
    assert "taken over" not in platform.runs.logs(run.id, "extract")
    assert "==> tune.1 <==" in platform.runs.logs(run.id)
    with pytest.raises(NotFoundError, match="no log of step 'register'"):
        platform.runs.logs(run.id, "register")
    told = {step["step"]: step["action"] for step in platform.runs.outlook(run.id)}
    assert (told["extract"], told["tune"], told["register"]) == ("reuse", "run", "run")
    done = platform.runs.resume(run.id, timeout_s=DEADLINE_S)
    assert (done.status, done.error) == (RunStatus.SUCCEEDED, None)
    first = {step.step: step.status for step in done.steps}
    assert first["extract"] is StepStatus.CACHED
    assert first["tune"] is StepStatus.SUCCEEDED
    assert f"resumes {run.id}" in platform.runs.logs(done.id)
    assert [version.version for version in platform.models.list(PROJECT.model)] == [done.result["version"]]
    version = platform.models.verify(PROJECT.model, done.result["version"])
    model = Path(version.path) / "model.ubj"
    content = model.read_bytes()
    model.write_bytes(content[:-1] + b"?")
    with pytest.raises(ModelLoadFailed, match=r"model\.ubj"):
        platform.models.verify(PROJECT.model, version.version)
    model.write_bytes(content)
    assert not [r for r in platform.runs.list(project) if not r.status.final]
    assert PROJECT.model in {trained.name for trained in platform.models.trained_on("depot_loads")}


@pytest.mark.slow
def test_a_run_of_an_altered_bundle_fails_and_names_the_file(platform: Platform, project: str) -> None:
    import ray

    session = Path(ray._private.worker.global_worker.node.get_session_dir_path())
    unpacked = (session / "runtime_resources" / "working_dir_files").glob("*/killed_project.py")
    modules = [each for each in unpacked if read_project(each.parent).name == project]  # other tests have bundles of it
    for module in modules:
        module.write_text(f"{SOURCE}\nraise AssertionError('it is not imported')\n")
    try:
        done = platform.runs.start(project, parameters=PARAMETERS, reason="swapped", wait=True)
    finally:
        for module in modules:
            module.write_text(SOURCE)
    assert done.status is RunStatus.FAILED
    assert done.error is not None
    assert done.error.startswith(tuple(f"DeploymentError: {module}: must have digest " for module in modules))
    assert "\n" not in done.error
    assert done.bundle is not None
    archive = platform.config.home / "bundles" / done.bundle / "bundle.zip"
    content = archive.read_bytes()
    archive.chmod(0o600)
    archive.write_bytes(content[:-1] + b"?")
    try:
        with pytest.raises(DeploymentError, match=r"bundle\.zip: must have digest "):
            platform.runs.start(project, parameters=PARAMETERS, reason="altered", wait=False)
    finally:
        archive.write_bytes(content)
    (newest, *_) = platform.runs.list(project)
    assert (newest.reason, newest.status) == ("altered", RunStatus.FAILED)
    assert newest.error is not None
    assert "bundle.zip: must have digest" in newest.error
    told = [entry.reason for entry in platform.ledger.entries(PROJECT.model) if entry.action == "start_run"]
    assert told[-2:] == ["swapped", "altered"]


@pytest.mark.slow
def test_a_trial_that_is_killed_is_begun_again(
    processes: Callable[[str], list[psutil.Process]], tmp_path: Path
) -> None:
    from raymlops.experiments import Drawn, InProcessTuner, TrialSpec
    from raymlops.records.learning.tasks import LearningTask
    from raymlops.runtime.jobs.tuning import RayTuner

    inputs = np.random.default_rng(0).normal(size=(30_000, 3))
    table = pa.table({**dict(zip("abc", inputs.T, strict=True)), "label": (inputs.sum(axis=1) > 0).astype(float)})
    params: dict[str, Any] = {"n_estimators": 300, "max_depth": 7}
    specs = [TrialSpec(number=number, family="xgboost", params=params, seed=number) for number in range(3)]
    search = {"train": table[:25_000], "valid": table[25_000:], "task": LearningTask(inputs=("a", "b", "c"))}

    def kill_one() -> int:
        """SIGKILL of the first trial's process that is found at work."""
        work = _await("a trial at work", lambda: processes("ray::ResourceTrainable.train"))
        os.kill(work[0].pid, signal.SIGKILL)
        return int(work[0].pid)

    with ThreadPoolExecutor(1) as beside:
        killed = beside.submit(kill_one)
        there = RayTuner(tmp_path, cpus_per_trial=0.5, start_s=0.0).search(Drawn(specs), name="killed", **search)
        assert not psutil.pid_exists(killed.result(DEADLINE_S))
    here = InProcessTuner().search(Drawn(specs), name="here", **search)
    assert [result.spec.number for result in there] == [0, 1, 2]
    assert [result.metrics for result in there] == [result.metrics for result in here]
