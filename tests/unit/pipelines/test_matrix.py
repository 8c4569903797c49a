"""Every shape of graph with every behaviour at every kind of place, against an oracle that knows no engine."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from raymlops.errors import DeadlineExceeded, StorageError, TrainingError
from raymlops.pipelines import Halt, Pipeline, PipelineRunner, Step
from raymlops.records.runs import RunStatus, StepStatus

Graph = Mapping[str, tuple[str, ...]]

GRAPHS: dict[str, Graph] = {
    "single": {"a": ()},
    "chain": {"a": (), "b": ("a",), "c": ("b",), "d": ("c",)},
    "diamond": {"a": (), "b": ("a",), "c": ("a",), "d": ("b", "c")},
    "fan_in": {"a": (), "b": (), "c": (), "d": ("a", "b", "c")},
    "shortcut": {"a": (), "b": ("a",), "c": ("a", "b"), "d": ("a", "c")},
    "side_branch": {"a": (), "b": ("a",), "side": ("a",), "d": ("b",)},
    "two_roots": {"a": (), "b": (), "c": ("a",), "d": ("b", "c")},
    "ladder": {"a": (), "b": (), "c": ("a", "b"), "x": ("a", "b"), "d": ("c", "x")},
}
PLACES = [
    pytest.param(name, step, id=f"{name}-{step}")
    for name, graph in GRAPHS.items()
    for step in dict.fromkeys([next(iter(graph)), list(graph)[len(graph) // 2], list(graph)[-1]])
]
pytestmark = pytest.mark.parametrize(("shape", "at"), PLACES)
MakeRunner = Callable[..., PipelineRunner]


class Killed(BaseException):
    """Stands for the end of the process."""


@dataclass
class World:
    """What the steps touch: whom they call, and what happens then."""

    calls: list[str] = field(default_factory=list)
    errors: dict[str, list[BaseException]] = field(default_factory=dict)
    halting: str = ""
    slow: str = ""


def _work(world: World, **given: Any) -> dict[str, Any] | Halt:
    name = next(each for each in given if each.startswith("own_")).removeprefix("own_")
    add, inputs = given.pop(f"own_{name}")[0], given
    world.calls.append(name)
    if world.errors.get(name):
        raise world.errors[name].pop(0)
    if world.slow == name:
        time.sleep(30)
    if world.halting == name:
        return Halt({"halted": name})
    return {"out": {"value": add + sum(each["value"] if isinstance(each, dict) else each for each in inputs.values())}}


def _pipeline(graph: Graph, at: str = "", **of_step: Any) -> Pipeline:
    steps = [
        Step(
            name,
            _work,
            {"out": "json"},
            {f"in_{source}": f"{source}.out" for source in sources},
            (f"own_{name}",),
            **(of_step if name == at else {}),
        )
        for name, sources in graph.items()
    ]
    return Pipeline("p", steps, f"{list(graph)[-1]}.out", libraries=())


def _parameters(graph: Graph, **changed: Any) -> dict[str, Any]:
    """A number that each step adds, and a remark that changes nothing."""
    return {f"own_{name}": changed.get(name, [10**place, ""]) for place, name in enumerate(graph)}


def _value(graph: Graph, name: str, parameters: Mapping[str, Any], extra: Mapping[str, int] | None = None) -> int:
    own = parameters[f"own_{name}"][0] + (extra or {}).get(name, 0)
    return int(own + sum(_value(graph, source, parameters, extra) for source in graph[name]))


def _last(graph: Graph) -> str:
    return list(graph)[-1]


def _after(graph: Graph, at: str) -> set[str]:
    """The step and all that needs it."""
    found = {at}
    for name, sources in graph.items():
        if found & set(sources):
            found.add(name)
    return found


def _before(graph: Graph, at: str) -> set[str]:
    """What runs before a step, in the order of declaration."""
    return set(list(graph)[: list(graph).index(at)])


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def test_runs_once_in_order_and_is_right(make_runner: MakeRunner, log: Any, shape: str, at: str) -> None:
    graph, world = GRAPHS[shape], World()
    done = make_runner().run(_pipeline(graph), _parameters(graph), run_id="r", context=world)
    assert done.result["value"] == _value(graph, _last(graph), _parameters(graph))
    assert sorted(world.calls) == sorted(graph)
    assert all(world.calls.index(source) < world.calls.index(name) for name in graph for source in graph[name])
    inputs = {(step, digest) for _, step, digest, direction in log.events if direction == "input"}
    assert inputs == {(name, done.outputs[f"{source}.out"].digest) for name in graph for source in graph[name]}


def test_another_run_takes_all_over(make_runner: MakeRunner, shape: str, at: str) -> None:
    graph, world = GRAPHS[shape], World()
    for run in ("r1", "r2"):
        done = make_runner().run(_pipeline(graph), _parameters(graph), run_id=run, context=world)
    assert sorted(world.calls) == sorted(graph)
    assert {step.status for step in done.steps} == {StepStatus.CACHED}
    assert done.result["value"] == _value(graph, _last(graph), _parameters(graph))


def test_a_parameter_runs_its_step_and_what_needs_it(make_runner: MakeRunner, shape: str, at: str) -> None:
    graph, world = GRAPHS[shape], World()
    make_runner().run(_pipeline(graph), _parameters(graph), run_id="r1", context=world)
    world.calls.clear()
    changed = _parameters(graph, **{at: [7, ""]})
    done = make_runner().run(_pipeline(graph), changed, run_id="r2", context=world)
    assert set(world.calls) == _after(graph, at)
    assert done.result["value"] == _value(graph, _last(graph), changed)
    reasons = {step.step: step.reason for step in done.steps}
    assert reasons[at] == f"changed since its last execution: parameters ['own_{at}']"


def test_a_step_that_gives_the_same_again_runs_alone(make_runner: MakeRunner, shape: str, at: str) -> None:
    graph, world = GRAPHS[shape], World()
    make_runner().run(_pipeline(graph), _parameters(graph), run_id="r1", context=world)
    world.calls.clear()
    remarked = _parameters(graph, **{at: [_parameters(graph)[f"own_{at}"][0], "a remark"]})
    make_runner().run(_pipeline(graph), remarked, run_id="r2", context=world)
    assert world.calls == [at]


def test_data_that_moved_runs_its_reader_and_what_needs_it(make_runner: MakeRunner, shape: str, at: str) -> None:
    graph, world, versions = GRAPHS[shape], World(), {"planes": 12}
    pipeline = _pipeline(graph, at, data={"in_planes": "planes"})
    runner = make_runner(data_versions=versions.__getitem__)
    runner.run(pipeline, _parameters(graph), run_id="r1", context=world)
    runner.run(pipeline, _parameters(graph), run_id="r2", context=world)
    assert sorted(world.calls) == sorted(graph)
    world.calls.clear()
    versions["planes"] = 13
    done = runner.run(pipeline, _parameters(graph), run_id="r3", context=world)
    assert set(world.calls) == _after(graph, at)
    assert done.result["value"] == _value(graph, _last(graph), _parameters(graph), {at: 13})
    assert {step.step: step.reason for step in done.steps}[at] == "changed since its last execution: data ['in_planes']"


@pytest.mark.parametrize("failures", [1, 2])
def test_a_retryable_error_is_overcome(make_runner: MakeRunner, log: Any, shape: str, at: str, failures: int) -> None:
    graph, world = GRAPHS[shape], World(errors={at: [StorageError("disk") for _ in range(failures)]})
    waits: list[float] = []
    runner = make_runner(sleep=waits.append, backoff_s=0.5)
    done = runner.run(_pipeline(graph), _parameters(graph), run_id="r", context=world)
    assert done.result["value"] == _value(graph, _last(graph), _parameters(graph))
    assert waits == [0.5, 1.0][:failures]
    tried = [step.status for step in log.get_run("r").steps if step.step == at]
    assert tried == [StepStatus.FAILED] * failures + [StepStatus.SUCCEEDED]


def test_a_failed_run_is_resumed_from_its_last_good_step(
    make_runner: MakeRunner, log: Any, shape: str, at: str
) -> None:
    graph, world = GRAPHS[shape], World(errors={at: [TrainingError("no")]})
    with pytest.raises(TrainingError):
        make_runner().run(_pipeline(graph), _parameters(graph), run_id="r1", context=world)
    assert log.get_run("r1").status is RunStatus.FAILED
    assert set(world.calls) == {*_before(graph, at), at}
    world.calls.clear()
    done = make_runner().run(_pipeline(graph), _parameters(graph), run_id="r2", context=world, resume_of="r1")
    assert set(world.calls) == set(graph) - _before(graph, at)
    assert done.result["value"] == _value(graph, _last(graph), _parameters(graph))


def test_a_killed_run_tells_what_it_will_redo_then_does_that(
    make_runner: MakeRunner, log: Any, shape: str, at: str, caplog: pytest.LogCaptureFixture
) -> None:
    graph, world = GRAPHS[shape], World(errors={at: [Killed()]})
    update = log.update_run
    log.update_run = lambda run_id, **changes: _unless_final(update, run_id, changes)
    with pytest.raises(Killed):
        make_runner().run(_pipeline(graph), _parameters(graph), run_id="r", context=world)
    log.update_run = update
    assert log.get_run("r").status is RunStatus.RUNNING
    planned = make_runner().plan(_pipeline(graph), _parameters(graph), run_id="r")
    told = {step.step for step in planned if step.action == "run"}
    assert told == set(graph) - _before(graph, at)
    world.calls.clear()
    with caplog.at_level(logging.INFO, "raymlops.pipelines"):
        done = make_runner().run(_pipeline(graph), _parameters(graph), run_id="r", context=world)
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0] == f"run r is resumed: {len(told)} of {len(graph)} steps run"
    assert {line.split()[4].rstrip(":") for line in lines if line.startswith("run r: will run")} == told
    assert all("will" in line for line in lines[1 : len(graph) + 1]), "before anything is done"
    assert set(world.calls) == told
    assert done.result["value"] == _value(graph, _last(graph), _parameters(graph))
    assert not [step for step in log.get_run("r").steps if step.status is StepStatus.RUNNING]


def _unless_final(update: Callable[..., Any], run_id: str, changes: dict[str, Any]) -> Any:
    if "ended_at" in changes:
        raise Killed  # a dead process records nothing
    return update(run_id, **changes)


@pytest.mark.parametrize("harm", ["altered", "removed"])
def test_an_artifact_that_is_lost_is_made_again(
    make_runner: MakeRunner, tmp_path: Path, shape: str, at: str, harm: str
) -> None:
    graph, world = GRAPHS[shape], World()
    first = make_runner().run(_pipeline(graph), _parameters(graph), run_id="r1", context=world)
    digest = first.outputs[f"{at}.out"].digest
    path = tmp_path / "artifacts" / digest[:2] / digest
    path.unlink() if harm == "removed" else path.write_bytes(b'{"value":-1}')
    world.calls.clear()
    done = make_runner().run(_pipeline(graph), _parameters(graph), run_id="r2", context=world)
    assert world.calls == [at]
    assert done.result == first.result
    assert "missing or altered" in {step.step: step.reason for step in done.steps}[at]


def test_what_is_not_deterministic_runs_again_alone(make_runner: MakeRunner, shape: str, at: str) -> None:
    graph, world = GRAPHS[shape], World()
    pipeline = _pipeline(graph, at, deterministic=False)
    for run in ("r1", "r2"):
        done = make_runner().run(pipeline, _parameters(graph), run_id=run, context=world)
    assert sorted(world.calls) == sorted([*graph, at])
    assert {step.step: step.reason for step in done.steps}[at] == "it is not deterministic: every run executes it"


def test_a_halt_ends_the_run_well_and_is_taken_over(make_runner: MakeRunner, log: Any, shape: str, at: str) -> None:
    graph, world = GRAPHS[shape], World(halting=at)
    for run in ("r1", "r2"):
        done = make_runner().run(_pipeline(graph), _parameters(graph), run_id=run, context=world)
        assert done.result == {"halted": at}
        assert log.get_run(run).status is RunStatus.SUCCEEDED
    assert set(world.calls) == {*_before(graph, at), at}
    planned = make_runner().plan(_pipeline(graph), _parameters(graph), run_id="r3")
    assert [step.step for step in planned if step.action == "skip"] == list(graph)[list(graph).index(at) + 1 :]


@pytest.mark.parametrize("whose", ["step", "run"])
def test_what_takes_too_long_is_ended(make_runner: MakeRunner, log: Any, shape: str, at: str, whose: str) -> None:
    graph, world = GRAPHS[shape], World(slow=at)
    limits = {"step": ({"timeout_s": 0.05}, None), "run": ({}, 0.3)}
    of_step, deadline_s = limits[whose]
    message = f"^{'step' if whose == 'step' else 'run'} .*exceeded its deadline"
    started = time.monotonic()
    with pytest.raises(DeadlineExceeded, match=message):
        make_runner().run(
            _pipeline(graph, at, **of_step), _parameters(graph), run_id="r", context=world, deadline_s=deadline_s
        )
    assert time.monotonic() - started < 25
    run = log.get_run("r")
    assert run.status is RunStatus.FAILED
    assert run.error.startswith("DeadlineExceeded: ")
    assert len([step for step in run.steps if step.step == at]) <= 1, "a deadline is not tried again"


def test_every_step_has_its_log(make_runner: MakeRunner, tmp_path: Path, shape: str, at: str) -> None:
    graph, world = GRAPHS[shape], World(errors={at: [StorageError("disk")]})
    runner = make_runner(logs=tmp_path / "runs", sleep=lambda _: None)
    runner.run(_pipeline(graph), _parameters(graph), run_id="r", context=world)
    files = sorted(path.name.partition("-")[2] for path in (tmp_path / "runs" / "r" / "logs").iterdir())
    assert files == sorted([*(f"{name}.1.log" for name in graph), f"{at}.2.log"])
    shutil.rmtree(tmp_path / "runs")
