from __future__ import annotations

import os
import random
import shutil
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raymlops.clock import ManualClock
from raymlops.errors import StorageError
from raymlops.metadata import MetadataService, garbage
from raymlops.metadata.garbage import GarbageReport, collect_garbage
from raymlops.records.bundles import Deployment
from raymlops.records.record import sha256_of
from raymlops.records.runs import Run, RunStatus, StepRun, StepStatus
from raymlops.testing.metadata_examples import EPOCH, example_bundle, example_draft

LONG_AGO = time.time() - 90 * 86_400
DAY = timedelta(days=1)
NOW = EPOCH + 100 * DAY


class World:
    """A home and its records, in which everything on disk is old."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.metadata = MetadataService(home / "metadata.db", clock=ManualClock(NOW))

    def write(self, *parts: str, text: str = "content") -> Path:
        path = self.home.joinpath(*parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def artifact(self, name: str) -> str:
        digest = sha256_of(name)
        self.write("artifacts", digest[:2], digest)
        return digest

    def execution(self, name: str) -> str:
        key = sha256_of(f"key of {name}")
        self.write("artifacts", "executions", f"{key}.json")
        return key

    def run(self, name: str, *steps: str, ended: timedelta | None = 60 * DAY, **facts: Any) -> Run:
        """A run that ended so long after the epoch, with a step that wrote each of some artifacts."""
        records = tuple(
            StepRun(
                step=f"s{place}",
                status=StepStatus.SUCCEEDED,
                key=self.execution(f"{name} {place}"),
                started_at=EPOCH,
                outputs={"out": self.artifact(step)},
            )
            for place, step in enumerate(steps)
        )
        asked = facts.pop("status", RunStatus.SUCCEEDED)
        status = RunStatus.RUNNING if ended is None else asked
        ended_at = None if ended is None else EPOCH + ended
        run = Run(
            id=name, pipeline="p", status=status, steps=records, created_at=EPOCH, ended_at=ended_at, **facts
        )  # fmt: skip
        return self.metadata.runs.create_run(run)

    def version(self, run_id: str | None, **facts: Any) -> Path:
        package = self.write("models", "churn", f"of-{run_id}", "model.ubj").parent
        draft = example_draft().model_copy(update={"run_id": run_id, "path": str(package), **facts})
        self.metadata.models.register_version(draft, key=str(run_id))
        return package

    def collect(self, *, age: bool = True, **options: Any) -> GarbageReport:
        """Collect as if everything had been written long ago."""
        if age:
            self.age()
        return collect_garbage(self.home, self.metadata, NOW, **{"remove": True, **options})

    def age(self) -> None:
        for path in [self.home, *self.home.rglob("*")]:
            os.utime(path, (LONG_AGO, LONG_AGO))

    def left(self) -> set[Path]:
        return {path for path in self.home.rglob("*") if path.is_file() and "metadata.db" not in path.name}


@pytest.fixture(autouse=True)
def _old_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """When a file was put where it is cannot be set back: the tests' world knows only when it was written."""

    def is_old(path: Path, oldest: float) -> bool:
        return garbage._newest(path, lambda stat: stat.st_mtime) < oldest

    monkeypatch.setattr(garbage, "_is_old", is_old)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    with closing(world.metadata):
        yield world


def test_what_nothing_leads_to_is_told_then_removed(world: World) -> None:
    world.run("old", "a", "b")
    lost = world.artifact("lost")
    told = world.collect(remove=False)
    assert {each.kind for each in told.found} == {"artifact", "execution"}
    assert lost in {Path(each.path).name for each in told.found}
    assert not told.removed
    assert len(world.left()) == 5, "nothing is removed unless that is asked for"
    removed = world.collect()
    assert removed.found == told.found
    assert removed.bytes == 5 * len("content")
    assert world.left() == set()
    assert world.collect().found == ()
    assert [run.id for run in world.metadata.runs.list_runs()] == ["old"], "records stay"


def test_a_version_keeps_its_package_its_run_and_all_that_this_read_and_wrote(world: World) -> None:
    world.run("maker", "model", bundle="b" * 64)
    world.run("other", "shared")
    world.metadata.artifacts.record_artifact(sha256_of("shared"), "arrow", "file:///x")
    world.metadata.artifacts.record_event("maker", "s0", sha256_of("shared"), "input")
    package = world.version("maker")
    bundle = world.write("bundles", "b" * 64, "bundle.zip")
    world.write("bundles", "c" * 64, "bundle.zip")
    world.write("models", "churn", "unregistered", "model.ubj")
    found = {(each.kind, Path(each.path).name) for each in world.collect().found}
    assert found == {
        ("execution", f"{sha256_of('key of other 0')}.json"),
        ("bundle", "c" * 64),
        ("package", "unregistered"),
    }
    assert (package / "model.ubj").exists()
    assert bundle.exists()


@pytest.mark.parametrize(
    ("facts", "kept"),
    [
        ({"ended": None}, True),
        ({"ended": 99 * DAY, "status": RunStatus.FAILED}, True),
        ({"ended": 69 * DAY, "status": RunStatus.FAILED}, False),
    ],
)
def test_a_run_that_goes_on_or_can_be_resumed_keeps_what_it_needs(world: World, facts: Any, kept: bool) -> None:
    world.run("r", "a", bundle="b" * 64, **facts)
    world.write("bundles", "b" * 64, "bundle.zip")
    world.write("runs", "r", "tune", "state.pkl")
    log = world.write("runs", "r", "logs", "00-a.1.log")
    found = world.collect().found
    assert (found == ()) is kept
    assert kept or {each.kind for each in found} == {"artifact", "execution", "bundle", "search"}
    assert log.exists(), "logs are kept with the run"


def test_a_run_keeps_the_run_that_it_resumes(world: World) -> None:
    world.run("first", "a", ended=10 * DAY, status=RunStatus.FAILED)
    world.run("second", ended=None, parameters={"resume_of": "first"})
    assert world.collect().found == ()


def test_what_is_deployed_stays(world: World) -> None:
    world.metadata.deployments.put_bundle(example_bundle("b" * 64))
    world.metadata.deployments.put_deployment(Deployment(environment="prod", bundle="b" * 64, at=EPOCH))
    world.write("bundles", "b" * 64, "bundle.zip")
    assert world.collect().found == ()


def test_the_search_of_a_run_that_succeeded_is_of_no_more_use(world: World) -> None:
    world.run("maker", "model", ended=99 * DAY)
    world.version("maker")
    world.write("runs", "maker", "tune", "state.pkl")
    assert [each.kind for each in world.collect().found] == ["search"]


def test_a_training_sets_manifest_keeps_its_spine(world: World) -> None:
    world.write("features", "training_sets", "spines", "aa.parquet")
    world.write("features", "training_sets", "spines", "bb.parquet")
    world.write("features", "training_sets", "m.json", text='{"spine_digest": "aa"}')
    dev = ("features", "environments", "dev", "training_sets")
    world.write(*dev, "m.json", text='{"spine_digest": "cc"}')
    for spine in ("cc", "dd"):
        world.write(*dev, "spines", f"{spine}.parquet")
    assert {Path(each.path).name for each in world.collect().found} == {"bb.parquet", "dd.parquet"}
    assert world.home.joinpath(*dev, "spines", "cc.parquet").exists()
    world.write("features", "training_sets", "m.json", text="rubbish")
    with pytest.raises(StorageError, match="garbage of"):
        world.collect()
    assert world.home.joinpath("features", "training_sets", "spines", "aa.parquet").exists()


def test_what_was_used_lately_stays(world: World) -> None:
    digest = world.artifact("fresh")
    path = world.home / "artifacts" / digest[:2] / digest
    world.age()
    os.utime(path)
    report = world.collect(age=False)
    assert (report.found, report.kept) == ((), 1)


def test_what_is_taken_up_while_it_is_removed_is_put_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = world.artifact("taken")
    path = world.home / "artifacts" / digest[:2] / digest
    rename = Path.rename

    def marked_before(self: Path, target: Path) -> Path:
        if self == path:
            os.utime(path)  # another process finds it in the cache just now
        return rename(self, target)

    world.age()
    monkeypatch.setattr(Path, "rename", marked_before)
    assert world.collect(age=False).found == ()
    assert path.read_text() == "content"
    assert [each.name for each in path.parent.iterdir()] == [digest]


def test_what_is_gone_already_is_no_error(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    gone, there = world.artifact("gone"), world.artifact("there")
    world.write("models", "churn", "half", "model.ubj")
    size = garbage._size

    def someone_else_removes(path: Path) -> int:
        found = size(path)
        if path.name in {gone, "half"}:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        return found

    monkeypatch.setattr(garbage, "_size", someone_else_removes)
    assert [Path(each.path).name for each in world.collect().found] == [there]


def test_an_empty_home_has_none(tmp_path: Path) -> None:
    with closing(MetadataService(tmp_path / "metadata.db")) as metadata:
        assert collect_garbage(tmp_path / "home", metadata, NOW).found == ()


@given(seed=st.integers(0, 2**32))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_nothing_that_can_be_reached_is_ever_removed(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    home = tmp_path / str(seed)
    home.mkdir(exist_ok=True)
    shutil.rmtree(home)
    home.mkdir()
    world = World(home)
    with closing(world.metadata):
        reachable = _random_world(world, draw)
        world.age()
        before = world.left()
        report = world.collect()
        after = world.left()
    assert reachable <= after
    assert before - after == {file for file in before if file not in reachable}
    assert {Path(each.path) for each in report.found} & reachable == set()


def _random_world(world: World, draw: random.Random) -> set[Path]:
    """Runs that share artifacts, some with versions; what must stay is found by following the records by hand."""
    runs, edges = [], {}
    for number in range(draw.randint(1, 8)):
        ended = draw.choice([None, 20 * DAY, 60 * DAY, 95 * DAY])
        names = [f"artifact {draw.randint(0, 9)}" for _ in range(draw.randint(0, 4))]
        facts: dict[str, Any] = {"status": draw.choice([RunStatus.SUCCEEDED, RunStatus.FAILED, RunStatus.CANCELED])}
        if runs and draw.random() < 0.3:
            facts["parameters"] = {"resume_of": draw.choice(runs).id}
        run = world.run(f"run-{number}", *names, ended=ended, **facts)
        runs.append(run)
        read = [f"artifact {draw.randint(0, 9)}" for _ in range(draw.randint(0, 2))]
        for name in read:
            world.metadata.artifacts.record_artifact(world.artifact(name), "json", "file:///x")
            world.metadata.artifacts.record_event(run.id, "s0", sha256_of(name), "input")
        edges[run.id] = {sha256_of(name) for name in [*names, *read]}
    makers = {run.id for run in runs if draw.random() < 0.3}
    stay = {world.version(run_id) / "model.ubj" for run_id in makers}
    world.artifact("lost")
    kept = {
        run.id for run in runs if run.id in makers or run.ended_at is None or run.ended_at >= NOW - timedelta(days=30)
    }
    kept |= {run.parameters["resume_of"] for run in runs if run.id in kept and "resume_of" in run.parameters}
    for run in runs:
        if run.id in kept:
            stay |= {world.home / "artifacts" / digest[:2] / digest for digest in edges[run.id]}
            stay |= {world.home / "artifacts" / "executions" / f"{step.key}.json" for step in run.steps}
    return stay


def test_the_bundle_that_a_roll_back_goes_to_stays(world: World) -> None:
    for number, name in enumerate("abc"):
        world.metadata.deployments.put_bundle(example_bundle(name * 64))
        at = EPOCH + timedelta(minutes=number)
        world.metadata.deployments.put_deployment(Deployment(environment="prod", bundle=name * 64, at=at))
        world.write("bundles", name * 64, "bundle.zip")
    found = world.collect().found
    assert [(each.kind, Path(each.path).name) for each in found] == [("bundle", "a" * 64)]
