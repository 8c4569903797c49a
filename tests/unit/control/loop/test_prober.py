"""Probes beside the loop: started as windows close, never waited for, given up when they fail, hang or lack rows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from raymlops.clock import ManualClock
from raymlops.config import ControlConfig, MonitoringConfig, TriggersConfig
from raymlops.config.probes import ProbesConfig
from raymlops.control.loop.prober import Prober, grid_of, probe_folder
from raymlops.errors import ModelVersionNotFound, UnavailableError
from raymlops.laboratory.probes.probe_files import ProbeFolder
from raymlops.records.learning.signatures import ColumnSpec, Signature
from raymlops.records.models import ModelManifest, ModelVersion
from raymlops.records.windows import WindowRecord
from raymlops.testing.control_examples import DAY, START, example_plan, example_probed, example_window

MONITORING = MonitoringConfig(window=DAY, anchor=START)
CONFIG = ControlConfig(probes=ProbesConfig(attempts=2, deadline=timedelta(seconds=60)))
VERSION = ModelVersion(
    name="m",
    version=1,
    path="nowhere",
    manifest=ModelManifest(
        flavor="xgboost",
        signature=Signature(task="classifier", inputs=(ColumnSpec(name="x", dtype="FP64"),), classes=(0, 1)),
        files={},
        libraries={},
    ),
    digest="0",
    parameters={"as_of": START.isoformat()},
    created_at=START,
)


class Task:
    """A task that a test ends."""

    def __init__(self) -> None:
        self.ended = False
        self.canceled = False
        self.says: str | Exception = ""
        self.waited_s: list[float] = []

    def wait(self, timeout_s: float) -> bool:
        self.waited_s.append(timeout_s)
        return self.ended

    def outcome(self) -> str:
        if isinstance(self.says, Exception):
            raise self.says
        return self.says

    def cancel(self) -> None:
        self.canceled = True


class World:
    """A prober over models in memory."""

    def __init__(self, home: Path, config: ControlConfig = CONFIG) -> None:
        self.home = home
        self.now_s = 0.0
        self.clock = ManualClock(START + 30 * DAY)
        self.windows: list[WindowRecord] = []
        self.tasks: list[Task] = []
        self.started: list[tuple[str, tuple[datetime, ...]]] = []
        self.ahead: list[datetime] = []
        self.fits: list[Task] = []
        self.trouble: Exception | None = None
        stores: Any = SimpleNamespace(plans=self, models=self, windows=self)
        self.prober = Prober(
            home, config, lambda _: config, MONITORING, stores, self.clock, self.start, lambda: self.now_s
        )

    def start(self, champion: ModelVersion, starts: Sequence[datetime], at: datetime, *, ahead: bool = False) -> Task:
        assert at == self.clock.now()
        task = Task()
        if ahead:
            self.ahead += starts
            self.fits.append(task)
        else:
            self.started.append((champion.name, tuple(starts)))
            self.tasks.append(task)
        return task

    def find_plan(self, model: str) -> Any:
        if self.trouble is not None:
            raise self.trouble
        return example_plan().model_copy(update={"model": model})

    def get_version(self, model: str, version: int) -> ModelVersion:
        if version != 1:
            raise ModelVersionNotFound.of(model, version)
        return VERSION.model_copy(update={"name": model})

    def list_windows(self, model: str) -> list[WindowRecord]:
        del model
        return self.windows

    def close(self, day: int, **flags: Any) -> None:
        """A window closes."""
        self.windows.append(example_window(day, **flags))
        self.prober.look("m", closed=True)

    def end_fit(self, says: str | Exception = "") -> None:
        """The fit of the window that has begun ends."""
        self.fits[-1].says, self.fits[-1].ended = says, True
        self.prober.look("m", closed=False)

    def end(self, says: str | Exception = "", shown: int = 0) -> None:
        """The newest task ends, having probed so many days."""
        if shown:
            folder = probe_folder(self.home, VERSION, grid_of(VERSION, CONFIG, MONITORING))
            ProbeFolder.made(folder).keep_shown(example_probed(shown, slope=0.1).windows)
        self.tasks[-1].says, self.tasks[-1].ended = says, True
        self.prober.look("m", closed=False)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_window_is_probed_once_and_what_was_shown_is_known(world: World) -> None:
    world.close(0)
    assert world.started == [("m", (START,))]
    assert world.prober.probed("m", 1).windows == ()
    world.end(shown=1)
    found = world.prober.probed("m", 1)
    assert (len(found.windows), found.trained_at, found.problem) == (1, START, "")
    world.end_fit()
    world.close(1)
    world.prober.look("m", closed=True)
    assert world.started[1:] == [("m", (START + DAY,))]


def test_the_probe_of_the_window_that_has_begun_is_fitted_ahead_once(world: World) -> None:
    world.close(0)
    assert world.ahead == []
    world.end(shown=1)
    assert world.ahead == [START + DAY]
    world.end_fit()
    world.prober.look("m", closed=False)
    assert world.ahead == [START + DAY]
    world.close(1)
    world.end(shown=2)
    assert world.ahead == [START + DAY, START + 2 * DAY]


@pytest.mark.parametrize("says", ["", UnavailableError("probes were lost: the worker died")])
def test_a_window_that_closes_meanwhile_waits_for_that_fit_and_its_failure_is_no_problem(
    world: World, says: str | Exception
) -> None:
    world.close(0)
    world.end(shown=1)
    world.close(1)
    assert len(world.started) == 1
    world.end_fit(says)
    assert world.started[1:] == [("m", (START + DAY,))]
    assert world.prober.probed("m", 1).problem == ""


def test_looking_never_waits(world: World) -> None:
    world.close(0)
    for _ in range(5):
        world.prober.look("m", closed=False)
    assert set(world.tasks[0].waited_s) == {0.0}
    assert len(world.tasks) == 1


def test_one_that_hangs_is_ended_at_its_deadline_tried_again_and_given_up_until_the_next_window(world: World) -> None:
    world.close(0)
    world.now_s = 59.0
    world.prober.look("m", closed=False)
    assert not world.tasks[0].canceled
    world.now_s = 60.0
    world.prober.look("m", closed=False)
    assert world.tasks[0].canceled
    assert world.prober.probed("m", 1).problem == "probes did not end within 60 s"
    assert len(world.tasks) == 2
    world.now_s = 200.0
    for _ in range(3):
        world.prober.look("m", closed=False)
    assert (len(world.tasks), world.tasks[1].canceled) == (2, True)
    world.end_fit()
    world.close(1)
    assert world.started[-1] == ("m", (START + DAY,))
    world.end(shown=2)
    assert world.prober.probed("m", 1).problem == ""


def test_one_that_fails_is_told_and_tried_again(world: World) -> None:
    world.close(0)
    world.end(UnavailableError("probes were lost: the worker died"))
    assert world.prober.probed("m", 1).problem == "probes were lost: the worker died"
    assert len(world.tasks) == 2
    world.end(shown=1)
    assert world.prober.probed("m", 1).problem == ""


def test_a_window_that_lacks_rows_is_told_and_not_tried_again(world: World) -> None:
    world.close(0)
    world.end("probes need 50 labelled rows in the window from 2013-03-04, got 7")
    assert "got 7" in world.prober.probed("m", 1).problem
    assert len(world.tasks) == 1


def test_broken_data_and_windows_of_another_length_are_not_probed(world: World) -> None:
    world.close(0, quality="block")
    world.close(1, end=START + 3 * DAY)
    assert world.started == []


def test_after_a_long_pause_the_newest_windows_are_probed_together(world: World) -> None:
    world.windows = [example_window(day) for day in range(20)]
    world.prober.look("m", closed=False)
    assert world.started == [("m", tuple(START + day * DAY for day in range(12, 20)))]


def test_one_model_at_a_time(world: World) -> None:
    world.close(0)
    world.prober.look("other", closed=True)
    assert [model for model, _ in world.started] == ["m"]
    world.end(shown=1)
    world.end_fit()
    world.prober.look("other", closed=False)
    assert [model for model, _ in world.started] == ["m", "other"]


def test_a_store_in_trouble_is_told_and_asked_again(world: World) -> None:
    world.trouble = UnavailableError("the metadata actor is away")
    world.close(0)
    assert world.prober.probed("m", 1).problem == "the metadata actor is away"
    world.prober.look("other", closed=False)  # nobody holds the place meanwhile
    world.trouble = None
    world.prober.look("m", closed=False)
    assert world.started == [("m", (START,))]
    assert world.prober.probed("m", 1).problem == ""


def test_nothing_is_started_where_the_trigger_is_off(tmp_path: Path) -> None:
    world = World(tmp_path, CONFIG.model_copy(update={"triggers": TriggersConfig(regret=None)}))
    world.close(0)
    assert world.started == []


def test_a_damaged_record_or_an_unknown_version_is_a_problem_and_no_error(world: World) -> None:
    assert "version 2" in world.prober.probed("m", 2).problem
    folder = probe_folder(world.home, VERSION, grid_of(VERSION, CONFIG, MONITORING))
    folder.mkdir(parents=True)
    (folder / "shown.json").write_text("{")
    assert "cannot be read" in world.prober.probed("m", 1).problem


def test_a_replay_waits_up_to_the_deadline(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.close(0)
    task = world.tasks[0]

    def wait(timeout_s: float) -> bool:
        world.now_s += max(timeout_s, 0.5)
        return False

    monkeypatch.setattr(task, "wait", wait)
    world.prober._config = CONFIG.model_copy(update={"probes": ProbesConfig(attempts=1)})
    world.prober.settle("m")
    assert task.canceled
    assert world.now_s <= 62.0


def test_a_replay_goes_on_once_probes_have_ended(world: World) -> None:
    world.close(0)
    world.tasks[0].ended = True
    world.prober.settle("m")
    assert not world.tasks[0].canceled
    assert (len(world.tasks), len(world.fits)) == (1, 1)
    assert world.fits[0].waited_s == []
