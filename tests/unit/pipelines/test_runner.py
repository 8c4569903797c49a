from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from raymlops.errors import ConfigError, DataError, InvalidTransition, StorageError, TrainingError
from raymlops.pipelines import Halt, Pipeline, PipelineRunner, Step
from raymlops.records.runs import Run, RunStatus, StepStatus

MakeRunner = Callable[..., PipelineRunner]


class Killed(BaseException):
    """Stands for the end of the process: nothing may catch it and go on."""


@dataclass
class World:
    """What the steps of these tests touch: whom they call, and when that fails."""

    calls: list[str] = field(default_factory=list)
    failures: dict[str, list[BaseException]] = field(default_factory=dict)
    halting: bool = False

    def called(self, step: str) -> None:
        self.calls.append(step)
        if self.failures.get(step):
            raise self.failures[step].pop(0)


def _pin(world: World) -> dict[str, Any]:
    world.called("pin")
    return {"pin": {"call": len(world.calls)}}


def _load(world: World, *, rows: int, pin: dict[str, int]) -> dict[str, Any]:
    world.called("load")
    return {"table": pa.table({"x": list(range(rows))})}


def _fit(world: World, *, table: pa.Table, factor: int) -> dict[str, Any] | Halt:
    world.called("fit")
    if world.halting:
        return Halt({"outcome": "halted"})
    return {"total": {"sum": factor * sum(table["x"].to_pylist())}}


def _report(world: World, *, total: dict[str, int]) -> dict[str, Any]:
    world.called("report")
    return {"result": {"outcome": "done", **total}, "note": b"note"}


PIPELINE = Pipeline(
    "p",
    [
        Step("pin", _pin, {"pin": "json"}, deterministic=False),
        Step("load", _load, {"table": "arrow"}, {"pin": "pin.pin"}, ("rows",)),
        Step("fit", _fit, {"total": "json"}, {"table": "load.table"}, ("factor",)),
        Step("report", _report, {"result": "json", "note": "bytes"}, {"total": "fit.total"}),
    ],
    "report.result",
)
PARAMETERS = {"rows": 4, "factor": 10}


def _statuses(run: Run) -> list[tuple[str, int, StepStatus]]:
    return [(step.step, step.attempt, step.status) for step in run.steps]


def test_a_run_goes_through_all_steps_and_records_them(make_runner: MakeRunner, log: Any) -> None:
    world, runner = World(), make_runner()
    got = runner.run(PIPELINE, PARAMETERS, run_id="r1", context=world, reason="drift", bundle="b1")
    assert got.result == {"outcome": "done", "sum": 60}
    assert world.calls == ["pin", "load", "fit", "report"]
    assert runner.value(got.outputs["report.note"]) == b"note"
    run = log.get_run("r1")
    assert (run.status, run.pipeline, run.reason, run.bundle) == (RunStatus.SUCCEEDED, "p", "drift", "b1")
    assert run.parameters == PARAMETERS
    assert run.result == got.result
    assert run.ended_at is not None
    assert _statuses(run) == [(name, 1, StepStatus.SUCCEEDED) for name in world.calls]
    table = got.outputs["load.table"].digest
    assert {("r1", "load", table, "output"), ("r1", "fit", table, "input")} <= log.events
    assert log.artifact_of[table][0] == "arrow"
    assert Path(log.artifact_of[table][1].removeprefix("file://")).is_file()


def test_a_run_that_succeeded_gives_its_result_again(make_runner: MakeRunner) -> None:
    world = World()
    first = make_runner().run(PIPELINE, PARAMETERS, run_id="r1", context=world)
    again = make_runner().run(PIPELINE, PARAMETERS, run_id="r1", context=world)
    assert again.result == first.result
    assert again.outputs == first.outputs
    assert len(world.calls) == 4


def test_another_run_takes_over_what_is_the_same(make_runner: MakeRunner, log: Any) -> None:
    first, second = World(), World()
    make_runner().run(PIPELINE, PARAMETERS, run_id="r1", context=first)
    got = make_runner().run(PIPELINE, {**PARAMETERS, "factor": 2}, run_id="r2", context=second)
    assert got.result["sum"] == 12
    assert second.calls == ["pin", "fit", "report"]
    assert [(s.step, s.status) for s in got.steps] == [
        ("pin", StepStatus.SUCCEEDED),
        ("load", StepStatus.CACHED),
        ("fit", StepStatus.SUCCEEDED),
        ("report", StepStatus.SUCCEEDED),
    ]
    assert log.get_run("r2").steps[1].outputs == log.get_run("r1").steps[1].outputs


def test_an_altered_artifact_is_made_again(make_runner: MakeRunner, tmp_path: Path) -> None:
    world = World()
    first = make_runner().run(PIPELINE, PARAMETERS, run_id="r1", context=world)
    digest = first.outputs["load.table"].digest
    (tmp_path / "artifacts" / digest[:2] / digest).write_bytes(b"rubbish")
    second = World()
    got = make_runner().run(PIPELINE, PARAMETERS, run_id="r2", context=second)
    assert got.result == first.result
    assert second.calls == ["pin", "load"]
    assert "missing or altered" in got.steps[1].reason


def test_a_retryable_error_is_tried_again_with_growing_waits(make_runner: MakeRunner, log: Any) -> None:
    world = World(failures={"load": [StorageError("disk"), StorageError("disk")]})
    waits: list[float] = []
    got = make_runner(sleep=waits.append, backoff_s=0.5).run(PIPELINE, PARAMETERS, run_id="r1", context=world)
    assert got.result["sum"] == 60
    assert waits == [0.5, 1.0]
    assert [(a, s) for name, a, s in _statuses(log.get_run("r1")) if name == "load"] == [
        (1, StepStatus.FAILED),
        (2, StepStatus.FAILED),
        (3, StepStatus.SUCCEEDED),
    ]


@pytest.mark.parametrize(
    ("failures", "calls"),
    [([TrainingError("no")], 1), ([ZeroDivisionError("no")], 1), ([StorageError("disk")] * 3, 3)],
)
def test_an_error_that_stays_fails_the_run(
    make_runner: MakeRunner, log: Any, failures: list[BaseException], calls: int
) -> None:
    world = World(failures={"fit": list(failures)})
    with pytest.raises(type(failures[0])):
        make_runner(sleep=lambda _: None).run(PIPELINE, PARAMETERS, run_id="r1", context=world)
    run = log.get_run("r1")
    assert world.calls.count("fit") == calls
    assert run.status is RunStatus.FAILED
    assert run.error == f"{type(failures[0]).__name__}: {failures[0]}"
    assert run.steps[-1].status is StepStatus.FAILED
    assert run.steps[-1].error == run.error


def test_a_canceled_run_is_recorded_as_such(make_runner: MakeRunner, log: Any) -> None:
    world = World(failures={"fit": [KeyboardInterrupt()]})
    with pytest.raises(KeyboardInterrupt):
        make_runner().run(PIPELINE, PARAMETERS, run_id="r1", context=world)
    assert log.get_run("r1").status is RunStatus.CANCELED


def test_a_final_run_is_not_opened_again_but_resumed_by_another(make_runner: MakeRunner) -> None:
    world = World(failures={"report": [TrainingError("no"), TrainingError("again")]})
    with pytest.raises(TrainingError):
        make_runner().run(PIPELINE, PARAMETERS, run_id="r1", context=world)
    with pytest.raises(InvalidTransition, match="'r1' is failed"):
        make_runner().run(PIPELINE, PARAMETERS, run_id="r1", context=world)
    with pytest.raises(TrainingError):
        make_runner().run(PIPELINE, PARAMETERS, run_id="r2", context=world, resume_of="r1")
    got = make_runner().run(PIPELINE, PARAMETERS, run_id="r3", context=world, resume_of="r2")
    assert got.result["sum"] == 60
    assert world.calls == ["pin", "load", "fit", "report", "report", "report"]
    assert [s.status for s in got.steps] == [StepStatus.CACHED] * 3 + [StepStatus.SUCCEEDED]


@pytest.mark.parametrize("method", ["create_run", "update_run", "record_step", "record_artifact", "record_event"])
@pytest.mark.parametrize("nth", range(1, 14))
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_process_killed_at_any_call_is_resumed_to_the_same_result(
    make_runner: MakeRunner, log: Any, monkeypatch: pytest.MonkeyPatch, method: str, nth: int, when: str
) -> None:
    world, counter, real = World(), [0], getattr(log, method)

    def killing(*arguments: Any, **changes: Any) -> Any:
        counter[0] += 1
        if counter[0] == nth and when == "before":
            raise Killed
        if counter[0] > nth:
            raise Killed  # a dead process makes no more calls
        answer = real(*arguments, **changes)
        if counter[0] == nth:
            raise Killed
        return answer

    with monkeypatch.context() as patch:
        patch.setattr(log, method, killing)
        if method != "update_run":
            # a killed process does not record that it was
            patch.setattr(log, "update_run", _unless_canceled(log.update_run))
        with contextlib.suppress(Killed):
            make_runner().run(PIPELINE, PARAMETERS, run_id="r1", context=world)
    got = make_runner().run(PIPELINE, PARAMETERS, run_id="r1", context=world)
    run = log.get_run("r1")
    assert got.result == {"outcome": "done", "sum": 60}
    assert run.status is RunStatus.SUCCEEDED
    assert not [step for step in run.steps if step.status is StepStatus.RUNNING]
    assert {step.step for step in run.steps if step.outputs} == {"pin", "load", "fit", "report"}
    assert len(world.calls) <= 5, "at most the step that was under way is run again"
    assert {(step, direction) for _, step, _, direction in log.events} == {
        ("pin", "output"),
        *((step, direction) for step in ("load", "fit", "report") for direction in ("input", "output")),
    }


def _unless_canceled(update: Callable[..., Run]) -> Callable[..., Run]:
    def call(run_id: str, **changes: Any) -> Run:
        if changes.get("status") is RunStatus.CANCELED:
            raise Killed
        return update(run_id, **changes)

    return call


def test_a_step_may_end_the_run_well(make_runner: MakeRunner, log: Any) -> None:
    world = World(halting=True)
    got = make_runner().run(PIPELINE, PARAMETERS, run_id="r1", context=world)
    assert got.result == {"outcome": "halted"}
    assert world.calls == ["pin", "load", "fit"]
    assert log.get_run("r1").status is RunStatus.SUCCEEDED
    assert log.get_run("r1").result == {"outcome": "halted"}
    second = World()
    assert make_runner().run(PIPELINE, PARAMETERS, run_id="r2", context=second).result == {"outcome": "halted"}
    assert second.calls == ["pin"], "that it ends there is taken over like any other outcome"


@pytest.mark.parametrize("parameters", [{"rows": 4}, {**PARAMETERS, "more": 1}])
def test_parameters_must_be_those_that_the_steps_take(make_runner: MakeRunner, log: Any, parameters: Any) -> None:
    with pytest.raises(ConfigError, match=r"missing .* unknown"):
        make_runner().run(PIPELINE, parameters, run_id="r1")
    assert log.run_of == {}


def _wrong(world: World) -> dict[str, Any]:
    return {"other": 1}


def test_a_step_must_give_what_it_declares(make_runner: MakeRunner) -> None:
    pipeline = Pipeline("p", [Step("a", _wrong, {"result": "json"})], "a.result")
    with pytest.raises(DataError, match=r"must give \['result'\], got \['other'\]"):
        make_runner().run(pipeline, {}, run_id="r1", context=World())


def test_a_run_that_a_job_has_made_keeps_what_it_says(make_runner: MakeRunner, log: Any) -> None:
    at = make_runner()._clock.now()
    log.create_run(Run(id="r1", pipeline="p", reason="drift", job_id="j1", parameters={"rows": 4}, created_at=at))
    make_runner().run(PIPELINE, PARAMETERS, run_id="r1", context=World(), reason="other")
    run = log.get_run("r1")
    assert (run.reason, run.job_id, run.parameters) == ("drift", "j1", {"rows": 4})
    assert run.status is RunStatus.SUCCEEDED


def test_data_is_read_at_the_versions_a_run_began_with(make_runner: MakeRunner, log: Any) -> None:
    versions = {"planes": 12}
    step = Step("read", _read, {"result": "json"}, data={"planes": "planes"})
    pipeline, world = Pipeline("p", [step], "read.result"), World(failures={"read": [TrainingError("no")]})
    with pytest.raises(TrainingError):
        make_runner(data_versions=versions.__getitem__).run(pipeline, {}, run_id="r1", context=world)
    versions["planes"] = 13
    runner = make_runner(data_versions=versions.__getitem__)
    assert runner.run(pipeline, {}, run_id="r2", context=world, resume_of="r1").result == {"planes": 12}
    assert runner.run(pipeline, {}, run_id="r3", context=world).result == {"planes": 13}
    uris = {digest: uri for digest, (kind, uri) in log.artifact_of.items() if kind == "data"}
    assert sorted(uris.values()) == ["data:planes@12", "data:planes@13"]
    assert {(run, uris[digest]) for run, _, digest, way in log.events if way == "input"} == {
        ("r2", "data:planes@12"),
        ("r3", "data:planes@13"),
    }


def test_data_whose_version_nobody_tells_is_named(make_runner: MakeRunner, log: Any) -> None:
    pipeline = Pipeline("p", [Step("read", _read, {"result": "json"}, data={"planes": "planes"})], "read.result")
    with pytest.raises(ConfigError, match=r"read \['planes'\]: nobody tells their versions"):
        make_runner().run(pipeline, {}, run_id="r1", context=World())
    assert log.get_run("r1").status is RunStatus.FAILED


def _read(world: World, *, planes: int) -> dict[str, Any]:
    world.called("read")
    return {"result": {"planes": planes}}
