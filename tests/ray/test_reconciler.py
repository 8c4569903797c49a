"""A platform of its own that goes down and comes back: what was served is served again, by itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from raymlops.monitoring.events.event_tables import DeltaEventTables
from raymlops.runtime.supervision.head import ROLES, core_processes, processes_of
from raymlops.runtime.supervision.home_note import (
    Progress,
    note_progress,
    noted_cluster,
    noted_drained,
    noted_progress,
    supervisor_of,
)

# slow: tests/e2e/test_chaos.py kills a reconciler, and all processes of a platform that serves again by itself
pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]

CLI = [sys.executable, "-m", "raymlops.cli.main"]
DEADLINE_S = 120.0
MODELS = ("first", "second")


class Own:
    """A platform of this module's own, by its command line."""

    def __init__(self, home: Path, port: int) -> None:
        self.home, self.url = home, f"http://127.0.0.1:{port}"
        settings = {"RAYMLOPS_HOME": str(home), "RAYMLOPS_SERVING__PORT": str(port), "RAYMLOPS_CLUSTER__NUM_CPUS": "1"}
        self.environment = {**os.environ, **settings}

    def run(self, *arguments: str, code: str | None = None) -> str:
        command = [*CLI, *arguments] if code is None else [sys.executable, "-c", code, *arguments]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=240, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def get(self, path: str) -> tuple[int, Any]:
        try:
            answer = requests.get(self.url + path, timeout=10)
        except requests.ConnectionError:
            return 0, None
        return answer.status_code, answer.json()

    def becomes(self, what: Callable[[], object], wanted: object) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while (found := what()) != wanted:
            assert time.monotonic() < deadline, f"{found}\n{self.said()}"
            time.sleep(0.1)

    def said(self) -> str:
        """The last that the supervisor and the start of the platform said."""
        logs = [self.home / name for name in ("supervisor.log", "boot.log")]
        return "\n".join(log.read_text()[-3000:] for log in logs if log.exists())

    def kill_everything(self) -> None:
        """SIGKILL of every process of the cluster, at once."""
        note, supervisor = noted_cluster(self.home), supervisor_of(self.home)
        assert note is not None
        assert supervisor is not None
        ours = [psutil.Process(supervisor), *processes_of(note)]
        for process in ours:
            os.kill(process.pid, signal.SIGKILL)
        psutil.wait_procs(ours, timeout=20)

    def kill(self, role: str) -> None:
        """SIGKILL of one process of the head; returns once it is gone."""
        process = self.core()[role]
        process.kill()
        process.wait(timeout=20)

    def core(self) -> dict[str, psutil.Process]:
        """The processes of the head, by role."""
        note = noted_cluster(self.home)
        return {} if note is None else core_processes(note)

    def progress(self) -> tuple[str, int]:
        """What the supervisor says: the phase, and how often it started the platform again."""
        noted = noted_progress(self.home)
        return ("", -1) if noted is None else (noted.phase, noted.restarts)


DEPLOY = """
import sys, numpy as np, pyarrow as pa, raymlops
from sklearn.linear_model import LogisticRegression
rows = np.random.default_rng(0).normal(size=(50, 2))
with raymlops.connect(start=False) as platform:
    for name in sys.argv[1:]:
        fitted = LogisticRegression().fit(rows, rows[:, 0] > 0)
        version = platform.models.register(name, fitted, example=pa.table({"a": rows[:, 0], "b": rows[:, 1]}))
        platform.endpoints.deploy(name, version.version)
    platform.detach()
"""


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Own]:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    platform = Own(tmp_path_factory.mktemp("own") / "home", port)
    with ThreadPoolExecutor(2) as terminals:  # two people start it at once
        for started in [terminals.submit(platform.run, "up") for _ in range(2)]:
            assert f"answers at {platform.url}" in started.result()
    try:
        platform.run(*MODELS, code=DEPLOY)
        yield platform
    finally:
        platform.run("down")


def all_answer(own: Own) -> list[int]:
    return [own.get(path)[0] for path in (*(f"/v2/models/{name}/ready" for name in MODELS), "/v2/health/ready")]


def stop_amid_traffic(own: Own) -> None:
    """No event of what was answered is lost."""
    ids = [f"last-{number}" for number in range(100)]
    inputs = [{"name": name, "datatype": "FP64", "shape": [1], "data": [1.0]} for name in "ab"]
    with requests.Session() as caller:
        for request_id in ids:
            body = {"id": request_id, "inputs": inputs}
            assert caller.post(f"{own.url}/v2/models/first/infer", json=body, timeout=10).status_code == 200
    assert own.run("down").startswith("stopped ")
    events = DeltaEventTables(own.home / "monitor").read("predictions/first", None, None, "served_at")
    assert set(ids) <= set(events["request_id"].to_pylist())


def interrupt_a_stop(own: Own) -> None:
    """As who types `down` and ends it at once: replicas are drained, and nobody has ended them."""
    note_progress(own.home, Progress("stopping"))
    own.becomes(lambda: noted_drained(own.home), (None,))
    assert all_answer(own)[0] == 503


@pytest.mark.parametrize(
    "stop",
    [
        pytest.param(stop_amid_traffic, id="stop"),
        pytest.param(interrupt_a_stop, id="stop that was interrupted"),
        pytest.param(Own.kill_everything, id="death of everything"),
    ],
)
def test_what_was_served_is_served_again_after_a(own: Own, stop: Callable[[Own], object]) -> None:
    assert all_answer(own) == [200] * 3
    stop(own)
    own.run("up")
    own.becomes(lambda: all_answer(own), [200] * 3)
    assert "yes" in own.run("status")


def test_the_death_of_the_raylet_and_of_the_supervisor_is_mended_by_nobody(own: Own) -> None:
    """The reconciler starts a supervisor, the supervisor starts the cluster."""
    first, restarts = supervisor_of(own.home), own.progress()[1]
    assert first is not None
    os.kill(first, signal.SIGKILL)
    own.becomes(lambda: supervisor_of(own.home) not in (None, first), True)
    own.becomes(own.progress, ("starting", restarts))  # it has seen all processes, and sees to what runs on them
    own.kill("dashboard")
    own.becomes(own.progress, ("up", restarts))
    own.becomes(lambda: set(own.core()), set(ROLES))
    own.kill("log monitor")
    own.becomes(lambda: set(own.core()), set(ROLES))
    assert own.progress() == ("up", restarts)
    assert all_answer(own) == [200] * 3
    own.kill("raylet")
    own.becomes(own.progress, ("up", restarts + 1))
    own.becomes(lambda: all_answer(own), [200] * 3)


def test_what_does_not_fit_is_refused_before_it_starts(own: Own) -> None:
    own.run("third", "fourth", code=DEPLOY)  # four times 0.25 of one CPU
    with pytest.raises(
        AssertionError, match=r"plan 1 of fifth does not fit: it needs 0\.25 CPU, 0 of 1 are free; held"
    ):
        own.run("fifth", code=DEPLOY)
    assert own.get("/v2/models/fifth/ready")[0] == 404
    own.run("models", "undeploy", "third")
    own.becomes(lambda: own.get("/v2/models/third/ready")[0], 404)
    own.run("models", "undeploy", "fourth")


def test_a_key_that_may_operate_does_and_nothing_else_on_loopback(own: Own) -> None:
    path = f"{own.url}/v2/repository/models/first"
    assert requests.post(f"{path}/unload", timeout=10).status_code == 401
    key = own.run("keys", "create", "operator", "--scope", "operate").split()[0]
    headers = {"Authorization": f"Bearer {key}"}
    assert requests.post(f"{path}/unload", headers=headers, timeout=60).json()["served"] is False
    own.becomes(lambda: own.get("/v2/models/first/ready")[0], 404)
    assert requests.post(f"{path}/load", headers=headers, timeout=200).json()["champion"] == 1
    assert own.get("/v2/models/first/ready")[0] == 200


def test_an_application_that_nobody_planned_goes_and_others_stay(own: Own) -> None:
    own.run(
        code="""
import raymlops
from ray import serve
from raymlops.config.loader import load_config
from raymlops.runtime.cluster.local_cluster import running_config
from raymlops.runtime.serve.replica import candidate_application
from raymlops.records.plans import Trial
@serve.deployment(num_replicas=1, ray_actor_options={"num_cpus": 0})
class Theirs:
    def __call__(self) -> str:
        return "theirs"
with raymlops.connect(start=False) as platform:
    serve.run(Theirs.bind(), name="model-theirs", route_prefix="/theirs")
    orphan = candidate_application(platform.config, "first", Trial(version=1, cpus=0.01))
    serve.run_many([serve.RunTarget(orphan, name="candidate-first-1", route_prefix=None)],
                   wait_for_applications_running=False)
    import time
    deadline = time.monotonic() + 60
    while "candidate-first-1" in serve.status().applications:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert "model-theirs" in serve.status().applications
    serve.delete("model-theirs")
    platform.detach()
"""
    )
