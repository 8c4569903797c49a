"""The prober: fits probes of served models as their windows close, beside the loop, which waits for none of them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Protocol

from raymlops.clock import Clock
from raymlops.config.control import ControlConfig
from raymlops.config.monitoring import MonitoringConfig
from raymlops.errors import RaymlopsError
from raymlops.laboratory.probed import Probed, ProbedWindow
from raymlops.laboratory.probes.probe_files import SHOWN, read_shown
from raymlops.laboratory.probes.probe_grid import ProbeGrid
from raymlops.records.models import ModelRegistry, ModelVersion, trained_at
from raymlops.records.plans import PlanStore
from raymlops.records.record import sha256_of
from raymlops.records.windows import WindowRecord, WindowStore

__all__ = ["ProbeTask", "Prober", "grid_of", "probe_folder"]

_log = logging.getLogger(__name__)
_WINDOWS_AT_ONCE = 8
"""Windows that one task probes at most, the newest: after a long pause older ones tell little."""
_LOOK_S = 1.0
_LEVEL = {False: logging.INFO, True: logging.WARNING}


class ProbeTask(Protocol):
    """Probes of some windows under way, in a process of their own."""

    def wait(self, timeout_s: float) -> bool:
        """Wait for its end, so long at most; returns whether it has ended."""
        ...

    def outcome(self) -> str:
        """The reason why the newest window is not probed; empty where it is.

        Raises:
            RaymlopsError: It failed, or was lost.
        """
        ...

    def cancel(self) -> None:
        """End it; what it kept so far stays."""
        ...


class ProbeStores(Protocol):
    """The stores that tell what is to be probed."""

    plans: PlanStore
    models: ModelRegistry
    windows: WindowStore


class StartProbes(Protocol):
    """Starts what probes the windows of a model."""

    def __call__(
        self, champion: ModelVersion, starts: Sequence[datetime], at: datetime, *, ahead: bool = False
    ) -> ProbeTask:
        """Start a task.

        Args:
            champion: The version that serves.
            starts: Of the windows, oldest first.
            at: The present instant.
            ahead: Whether the windows have only begun: their probes are fitted, and scored later.
        """
        ...


@dataclass
class _Model:
    """How the probes of one model go; instants are those of the monotonic clock."""

    due: bool = True
    """Whether windows may have closed that were not probed."""
    task: ProbeTask | None = None
    ahead: bool = False
    """Whether the task only fits the probe of the window that has begun."""
    following: datetime | None = None
    """Start of the window whose probe is to be fitted next."""
    until_s: float = 0.0
    starts: tuple[datetime, ...] = ()
    tried: dict[datetime, int] = field(default_factory=dict)
    problem: str = ""
    """The reason why the newest closed window was not probed."""
    trouble: str = ""
    """The error that kept the windows to probe from being found out."""


class Prober:
    """Starts the probes of every model's windows as they close. Only ``settle`` waits for a probe.

    One task runs at a time. Thread-safe.

    Args:
        home: Of the platform.
        config: What probes may cost.
        policy_of: Model -> the policy in force for it, which tells whether there is the trigger.
        monitoring: The grid of windows.
        stores: Versions, plans and windows.
        clock: Dates what is shown.
        start: Starts the probes of some windows.
        monotonic: Measures deadlines.
    """

    def __init__(
        self,
        home: Path,
        config: ControlConfig,
        policy_of: Callable[[str], ControlConfig],
        monitoring: MonitoringConfig,
        stores: ProbeStores,
        clock: Clock,
        start: StartProbes,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._home = home
        self._config = config
        self._policy_of = policy_of
        self._monitoring = monitoring
        self._stores = stores
        self._clock = clock
        self._start_task = start
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._models: dict[str, _Model] = {}
        self._working: str | None = None
        self._version = lru_cache(maxsize=256)(stores.models.get_version)
        self._read: dict[Path, tuple[object, tuple[ProbedWindow, ...], str]] = {}

    def look(self, model: str, *, closed: bool) -> None:
        """Take in what has ended, and start what is due. One caller at a time for each model.

        Args:
            model: Name of the model.
            closed: Whether a window has closed since the last look.
        """
        if self._policy_of(model).triggers.regret is None:
            return
        state = self._state(model)
        state.due = state.due or closed
        self._collect(model, state, 0.0)
        if state.due and state.task is None and self._take_turn(model):
            try:
                self._start(model, state)
                state.trouble = ""
            except RaymlopsError as error:
                state.trouble = str(error)
            finally:
                if state.task is None:
                    self._end_turn(model)

    def settle(self, model: str) -> None:
        """Look, and wait until no closed window is left to probe: a replay must not depend on the machine's pace.

        Each task has its deadline, and each window its number of attempts.
        """
        state = self._state(model)
        while state.task is not None and (state.due or not state.ahead):
            self._collect(model, state, min(_LOOK_S, max(0.0, state.until_s - self._monotonic())))
            self.look(model, closed=False)

    def probed(self, model: str, version: int) -> Probed:
        """Results of the probes of a model whose champion is ``version``; unreadable results become a problem."""
        try:
            champion = self._version(model, version)
            shown, digest = self._shown(self._folder(champion) / SHOWN)
        except RaymlopsError as error:
            return Probed(problem=str(error))
        state = self._state(model)
        problem = state.trouble or state.problem
        return Probed(windows=shown, trained_at=trained_at(champion), problem=problem, digest=digest)

    def _state(self, model: str) -> _Model:
        with self._lock:
            return self._models.setdefault(model, _Model())

    def _take_turn(self, model: str) -> bool:
        """Whether no other model's probes run; nothing slow is done under the lock, for others' turns must not wait."""
        with self._lock:
            if self._working is None:
                self._working = model
            return self._working == model

    def _end_turn(self, model: str) -> None:
        with self._lock:
            if self._working == model:
                self._working = None

    def _start(self, model: str, state: _Model) -> None:
        """Start a task for the windows that are missing; where there are none, for the one that has begun."""
        plan = self._stores.plans.find_plan(model)
        champion = None if plan is None else self._version(model, plan.champion)
        starts = () if champion is None else self._missing(champion, state)
        state.ahead = not starts and state.following is not None
        if state.ahead and state.following is not None:
            starts, state.following = (state.following,), None
        if champion is not None and starts:
            state.starts = starts
            state.until_s = self._monotonic() + self._config.probes.deadline.total_seconds()
            state.task = self._start_task(champion, starts, self._clock.now(), ahead=state.ahead)
        state.due = False

    def _missing(self, champion: ModelVersion, state: _Model) -> tuple[datetime, ...]:
        """Starts of the newest windows that were not probed, and are to be tried now."""
        now, grid = self._clock.now(), self._grid(champion)
        windows = self._stores.windows.list_windows(champion.name)
        closed = sorted(each.start for each in windows if _to_probe(each, grid, now))
        newest = closed[-_WINDOWS_AT_ONCE:]
        known = {window.start for window in self._shown(self._folder(champion) / SHOWN)[0]}
        limit = self._config.probes.attempts
        starts = tuple(at for at in newest if at not in known and state.tried.get(at, 0) < limit)
        state.tried = {at: state.tried.get(at, 0) + (at in starts) for at in newest}
        return starts

    def _collect(self, model: str, state: _Model, wait_s: float) -> None:
        """Take in a task that has ended, or end one that is late."""
        if state.task is None:
            return
        done = state.task.wait(wait_s)
        if not done and self._monotonic() < state.until_s:
            return
        problem = self._problem_of(state.task, state) if done else self._cut_off(state.task)
        taken_s = self._monotonic() - state.until_s + self._config.probes.deadline.total_seconds()
        told = "fits" if state.ahead else "probes", model, state.starts[0].isoformat(), taken_s, problem or "done"
        _log.log(_LEVEL[bool(problem)], "%s of %s from %s took %.1f s: %s", *told)
        if not state.ahead:  # a probe that could not be fitted ahead is fitted when its window closes
            state.problem, state.due = problem, True
            state.following = state.starts[-1] + self._monitoring.window
        state.task, state.ahead = None, False
        self._end_turn(model)

    def _problem_of(self, task: ProbeTask, state: _Model) -> str:
        try:
            problem = task.outcome()
        except RaymlopsError as error:
            return str(error)
        if not state.ahead:  # the result for a window would be the same the next time
            state.tried |= dict.fromkeys(state.starts, self._config.probes.attempts)
        return problem

    def _cut_off(self, task: ProbeTask) -> str:
        task.cancel()
        return f"probes did not end within {self._config.probes.deadline.total_seconds():g} s"

    def _grid(self, champion: ModelVersion) -> ProbeGrid:
        return grid_of(champion, self._config, self._monitoring)

    def _folder(self, champion: ModelVersion) -> Path:
        return probe_folder(self._home, champion, self._grid(champion))

    def _shown(self, path: Path) -> tuple[tuple[ProbedWindow, ...], str]:
        """The windows of a file and a digest of them, read again where it was written anew."""
        try:
            found = path.stat()
        except FileNotFoundError:
            return (), ""
        mark = (found.st_mtime_ns, found.st_size, found.st_ino)
        known = self._read.get(path)
        if known is None or known[0] != mark:
            windows = read_shown(path)
            known = self._read[path] = (mark, windows, sha256_of(windows))
        return known[1], known[2]


def grid_of(champion: ModelVersion, config: ControlConfig, monitoring: MonitoringConfig) -> ProbeGrid:
    """The identity of the probes beside a version."""
    signature = champion.manifest.signature
    return ProbeGrid(
        inputs=signature.names,
        texts=signature.texts,
        regression=signature.task == "regressor",
        anchor=monitoring.anchor,
        length=monitoring.window,
        max_rows=config.probes.max_rows,
    )


def probe_folder(home: Path, champion: ModelVersion, grid: ProbeGrid) -> Path:
    """The directory of the probes beside a version."""
    return home / "laboratory" / champion.name / grid.digest


def _to_probe(window: WindowRecord, grid: ProbeGrid, now: datetime) -> bool:
    """Whether a closed window tells anything: broken data does not."""
    return window.end <= now and window.quality != "block" and grid.holds(window.start, window.end)
