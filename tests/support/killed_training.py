"""A training run as processes that can be killed: a driver that trains, and a server that holds the metadata.

What Ray does on a cluster is done here by hand: a server that died is started again, and calls that it did not answer
are sent again; a run whose driver died is either started again under its id, or brought to its end and resumed by
another.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
import sys
import time
from contextlib import closing
from dataclasses import fields
from datetime import UTC, datetime
from functools import partial
from multiprocessing.connection import Client, Connection, Listener
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from raymlops.clock import ManualClock
from raymlops.errors import RaymlopsError
from raymlops.experiments import InProcessTuner
from raymlops.features import FeatureReader
from raymlops.metadata import Metadata, MetadataService
from raymlops.records.bundles import ProjectSpec
from raymlops.records.runs import RunStatus
from raymlops.steps import TrainingContext, train_project

__all__ = ["NOW", "Story"]

NOW = datetime(2013, 3, 2, 3, tzinfo=UTC)
_DEADLINE_S = 240.0
_SEARCH = {"xgboost": {"n_estimators": 20, "learning_rate": 0.3, "max_depth": {"int": [2, 3]}}}
_PARAMETERS = {"search": _SEARCH, "trials": 2, "tolerance": 0.0, "bootstrap_rounds": 100}

_PROCESSES = multiprocessing.get_context("forkserver")
# what takes a second to import is imported once, by the process that the others are forked from
_PROCESSES.set_forkserver_preload([__name__, "raymlops.steps.training", "xgboost", "polars", "deltalake"])


def _train(home: Path, project: ProjectSpec, metadata: Any, run_id: str, resume_of: str | None) -> None:
    """Train in this process, on the feature store of the home."""
    with closing(FeatureReader(home / "features", clock=ManualClock(NOW))) as reader:
        context = TrainingContext(
            home=home,
            reader=reader,
            metadata=metadata,
            tuner=InProcessTuner(),
            clock=ManualClock(NOW),
            project=project,
            run_id=run_id,
            work=home / "runs" / run_id,
            bundle="b" * 64,
        )
        train_project(context, _PARAMETERS, resume_of=resume_of)


def _serve(home: Path) -> None:
    """Hold the metadata: one caller after the other."""
    address = home / "socket"
    address.unlink(missing_ok=True)
    service = MetadataService(home / "metadata.db", clock=ManualClock(NOW))
    with closing(service), Listener(str(address), "AF_UNIX") as listener:
        while True:
            with listener.accept() as caller:
                _answer(service, caller)


def _answer(service: MetadataService, caller: Connection) -> None:
    while True:
        try:
            store, method, args, kwargs = caller.recv()
            try:
                answer = (True, getattr(getattr(service, store), method)(*args, **kwargs))
            except RaymlopsError as error:
                answer = (False, error)
            caller.send(answer)
        except (EOFError, OSError):
            return  # the caller was killed; the next one is let in


class _Link:
    """The driver's one connection to the metadata, which lets one caller in: what is not answered is asked again."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._connection: Connection | None = None

    def call(self, store: str, method: str, *args: Any, **kwargs: Any) -> Any:
        deadline = time.monotonic() + _DEADLINE_S
        while True:
            try:
                if self._connection is None:
                    self._connection = Client(self._address, "AF_UNIX")
                self._connection.send((store, method, args, kwargs))
                fine, answer = self._connection.recv()
                break
            except (OSError, EOFError):
                self._connection = None
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
        if fine:
            return answer
        raise answer


class _Remote:
    """A store of the metadata as the driver sees it."""

    def __init__(self, link: _Link, store: str) -> None:
        self._link = link
        self._store = store

    def __getattr__(self, method: str) -> Any:
        if method.startswith("_"):
            raise AttributeError(method)
        return partial(self._link.call, self._store, method)


def _remote_metadata(address: str) -> Metadata:
    link = _Link(address)
    return Metadata(**{store.name: _Remote(link, store.name) for store in fields(Metadata)})


def _drive(home: Path, project_dir: Path, project: ProjectSpec, run_id: str, resume_of: str | None) -> None:
    sys.path.insert(0, str(project_dir))
    output = os.open(home / "driver.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.dup2(output, 1)
    os.dup2(output, 2)
    _train(home, project, _remote_metadata(str(home / "socket")), run_id, resume_of)


class Story:
    """One run, killed at random points by a seed, and brought to its end.

    Args:
        template: A home with a filled feature store; only read.
        home: Is made.
        project_dir: Directory of the project's modules.
        project: What is trained.
        seed: Draws who is killed, when, and how it goes on.
        span_s: Kills fall within so many seconds from a start; more than a run takes is fine.
    """

    def __init__(
        self, template: Path, home: Path, project_dir: Path, project: ProjectSpec, seed: int, span_s: float
    ) -> None:
        home.mkdir(parents=True)
        shutil.copytree(template / "features", home / "features")
        self._home = home
        self._project_dir = project_dir
        self._project = project
        self._draw = random.Random(seed)
        self._span_s = span_s
        self.killed: list[str] = []

    def tell(self) -> None:
        """Kill driver or server up to three times, then let the run end."""
        server, run_id, resume_of = self._start_server(), "run-0", None
        try:
            for number in range(self._draw.randint(1, 3)):
                driver = self._start_driver(run_id, resume_of)
                server = self._kill_one(driver, server)
                if driver.exitcode == 0:
                    return
                if self._draw.random() < 0.5:
                    self._end(run_id)
                    run_id, resume_of = f"run-{number + 1}", run_id
            self._finish(run_id, resume_of)
        finally:
            server.kill()
            server.join()

    def undisturbed(self) -> None:
        """Let the run go to its end."""
        server = self._start_server()
        try:
            self._finish("run-0", None)
        finally:
            server.kill()
            server.join()

    def _finish(self, run_id: str, resume_of: str | None) -> None:
        driver = self._start_driver(run_id, resume_of)
        driver.join(_DEADLINE_S)
        assert driver.exitcode == 0, (self._home / "driver.log").read_text()[-2000:]

    def _kill_one(self, driver: BaseProcess, server: BaseProcess) -> BaseProcess:
        """Kill at a random moment; a server is started again and the driver goes on, until it is killed, too."""
        while True:
            driver.join(self._draw.uniform(0.0, self._span_s))
            if not driver.is_alive():
                break
            if self._draw.random() < 0.5:
                self.killed.append("driver")
                driver.kill()
                driver.join(_DEADLINE_S)
            else:
                self.killed.append("metadata")
                server.kill()
                server.join(_DEADLINE_S)
                server = self._start_server()
        assert driver.exitcode in {0, -signal.SIGKILL}, (self._home / "driver.log").read_text()[-2000:]
        return server

    def _start_server(self) -> BaseProcess:
        process = _PROCESSES.Process(target=_serve, args=(self._home,), daemon=True)
        process.start()
        return process

    def _start_driver(self, run_id: str, resume_of: str | None) -> BaseProcess:
        arguments = (self._home, self._project_dir, self._project, run_id, resume_of)
        process = _PROCESSES.Process(target=_drive, args=arguments, daemon=False)
        process.start()
        return process

    def _end(self, run_id: str) -> None:
        """What the platform does about a run whose job ended without a word."""
        with closing(MetadataService(self._home / "metadata.db", clock=ManualClock(NOW))) as metadata:
            known = {run.id: run for run in metadata.runs.list_runs()}
            if run_id in known and not known[run_id].status.final:
                metadata.runs.update_run(run_id, status=RunStatus.FAILED, error="the job ended: killed")
