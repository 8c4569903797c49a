"""What Serve and the front door say, read; the job service, asked. None of this needs a cluster."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.job_submission import JobStatus

from raymlops.clock import SystemClock
from raymlops.config.platform import PlatformConfig
from raymlops.control.reconciling.reconcile import Phase, diff, is_ours, status_of, wanted_candidate, wanted_of
from raymlops.errors import UnavailableError
from raymlops.records.plans import ServingPlan, Trial
from raymlops.records.runs import Run, RunStatus
from raymlops.records.serving.endpoints import Hosting
from raymlops.runtime.cluster.deadlines import within
from raymlops.runtime.jobs.run_jobs import JobRunner
from raymlops.runtime.serve import applications
from raymlops.runtime.serve.replicas.model_replica import candidate_application, model_application
from raymlops.runtime.serve.replicas.pool_replica import pool_application

pytestmark = pytest.mark.ray


def told_by_serve(
    deployment: Any, *, status: str = "RUNNING", states: tuple[str, ...] = ("RUNNING",)
) -> dict[str, Any]:
    """As Serve's controller tells of an application, cut to what is read."""
    bound = deployment._bound_deployment
    return {
        "status": status,
        "message": "",
        "last_deployed_time_s": time.time() - 7.0,
        "deployments": {
            bound.name: {
                "name": bound.name,
                "message": "the\nreplica  died",
                "deployment_config": {"ray_actor_options": bound.ray_actor_options},
                "replicas": [{"state": state} for state in states],
            }
        },
    }


def test_what_was_asked_for_is_recognised_in_what_serve_tells(tmp_path: Path) -> None:
    config = PlatformConfig(home=tmp_path)
    trial = Trial(version=2, memory_bytes=1 << 29)
    plan = ServingPlan(model="m", number=1, champion=1, trial=trial, replicas=2, created_at=SystemClock().now())
    endpoint, candidate = wanted_of([plan], config.serving)
    assert candidate == wanted_candidate("m", trial, config.serving)
    apps = [
        model_application(config, "m", 2, shape=endpoint.shape),
        candidate_application(config, "m", trial, shape=candidate.shape),
    ]
    seen = [
        applications._observed(want.name, told_by_serve(app))
        for want, app in zip((endpoint, candidate), apps, strict=True)
    ]
    assert [one.shape for one in seen] == ["2x0.25", f"1x0.25/{1 << 29}"]
    assert all(is_ours(one) for one in seen)
    assert diff([endpoint, candidate], seen) == []
    assert (seen[0].running, seen[0].message, round(seen[0].age_s)) == (1, "the replica died", 7)
    failed = applications._observed("model-m", told_by_serve(apps[0], status="DEPLOY_FAILED", states=()))
    assert (failed.phase, failed.running) == (Phase.FAILED, 0)


def test_what_somebody_else_runs_is_his(tmp_path: Path) -> None:
    theirs = {"status": "RUNNING", "message": "", "last_deployed_time_s": 0.0, "deployments": {}}
    deployment = {"name": "Theirs", "message": "", "deployment_config": {"name": "Theirs"}, "replicas": []}
    seen = applications._observed("model-m", {**theirs, "deployments": {"Theirs": deployment}})
    assert (is_ours(seen), seen.shape) == (False, None)
    assert diff([], [seen]) == []


def test_the_pool_is_recognised_and_says_how_each_model_stands_in_each_replica(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = PlatformConfig(home=tmp_path)
    plan = ServingPlan(model="b", number=3, champion=1, pooled=True, created_at=SystemClock().now())
    (want,) = wanted_of([plan], config.serving)
    seen = applications._observed(want.name, told_by_serve(pool_application(config, shape=want.shape)))
    assert (seen.shape, is_ours(seen), diff([want], [seen])) == (want.shape, True, [])
    said = [{"a": Hosting(0, "altered"), "b": Hosting(3)}, {"b": Hosting(2, None, "it is slow")}]
    asked: list[str] = []
    monkeypatch.setattr(applications, "_broadcast", lambda found: said)
    monkeypatch.setattr(applications, "_ask", lambda host, port, model: asked.append(model))
    builders = applications.Builders(model_application, candidate_application, pool_application)
    shown = applications.Applications(config, builders)
    looked = shown._asked(seen, "127.0.0.1", 1)
    assert looked.hosted == {"a": (Hosting(0, "altered"),), "b": (Hosting(3), Hosting(2, None, "it is slow"))}
    assert (looked.reply, asked) == (None, ["b"])  # of the models, one that can answer
    status = status_of(plan, [want], [looked], None, 1.0)
    assert (status.answers, status.answering, status.pooled) == (True, 1, True)
    monkeypatch.setattr(applications, "_broadcast", lambda found: [])
    assert shown._asked(seen, "127.0.0.1", 1).reply == "no model of the pool can answer"


@pytest.fixture
def front_door() -> Iterator[ThreadingHTTPServer]:
    class Handler(BaseHTTPRequestHandler):
        status, body = 200, b"{}"

        def do_GET(self) -> None:
            self.send_response(type(self).status)
            self.send_header("Content-Length", str(len(type(self).body)))
            self.end_headers()
            self.wfile.write(type(self).body)

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (200, b"{}", None),
        (401, b'{"error": "a valid API key is needed"}', None),
        (503, b'{"error": "not up yet"}', "503: not up yet"),
        (404, b"Path not found", "404: Path not found"),
        (500, b"[]", "500: []"),
    ],
)
def test_the_front_door_is_asked_as_callers_do(
    front_door: ThreadingHTTPServer, status: int, body: bytes, said: str | None
) -> None:
    handler: Any = front_door.RequestHandlerClass
    handler.status, handler.body = status, body
    assert applications._ask("127.0.0.1", front_door.server_address[1], "m") == said


def test_a_front_door_that_is_closed_is_named(front_door: ThreadingHTTPServer) -> None:
    port = front_door.server_address[1]
    front_door.shutdown()
    front_door.server_close()
    assert f"127.0.0.1:{port} does not answer" in str(applications._ask("127.0.0.1", port, "m"))
    assert applications._front_door({"host": "0.0.0.0", "port": 9}) == ("127.0.0.1", 9)
    assert applications._front_door({"host": "[::]", "port": 9}) == ("::1", 9)


def test_a_call_that_hangs_is_left_and_what_a_call_raises_is_raised() -> None:
    release = threading.Event()
    with pytest.raises(UnavailableError, match=r"asking took longer than 0\.05 s"):
        within(0.05, "asking", release.wait)
    release.set()
    assert within(10.0, "asking", lambda: 3) == 3

    def raising() -> None:
        raise TimeoutError("of its own")

    with pytest.raises(TimeoutError, match="of its own"):
        within(10.0, "asking", raising)


class JobService:
    """Stands for the client of the job service."""

    def __init__(self) -> None:
        self.statuses = {"mine": JobStatus.RUNNING}
        self.away = False

    def list_jobs(self) -> list[Any]:
        if self.away:
            raise ConnectionError("refused")
        began_ms = (time.time() - 60) * 1000
        bundle = {"bundle": "b" * 64}
        known = [
            ("mine", self.statuses["mine"], bundle),
            ("ended", JobStatus.SUCCEEDED, bundle),
            ("theirs", JobStatus.RUNNING, {}),
        ]
        env = {"env_vars": {}}
        return [
            SimpleNamespace(submission_id=i, status=s, start_time=began_ms, metadata=m, runtime_env=env)
            for i, s, m in known
        ]

    def get_job_status(self, run_id: str) -> JobStatus:
        if self.away:
            raise ConnectionError("refused")
        return self.statuses[run_id]

    def stop_job(self, run_id: str) -> None:
        self.statuses[run_id] = JobStatus.STOPPED

    def get_job_logs(self, run_id: str) -> str:
        return "said before it was stopped\n"


class Records:
    def __init__(self) -> None:
        self.run = Run(
            id="mine", pipeline="p", bundle="b" * 64, status=RunStatus.RUNNING, created_at=SystemClock().now()
        )

    def get_run(self, run_id: str) -> Run:
        return self.run

    def update_run(self, run_id: str, **changes: object) -> Run:
        self.run = self.run.model_copy(update=changes)
        return self.run


def test_a_job_beyond_its_deadline_is_stopped_and_its_run_says_why(tmp_path: Path) -> None:
    service, records = JobService(), Records()
    runner = JobRunner(tmp_path, records, SystemClock())
    runner._client = service  # type: ignore[assignment]
    assert {run_id: round(age_s) for run_id, age_s in runner.alive().items()} == {"mine": 60}
    runner.end("mine", "it took longer than cluster.run_deadline, 10 s")
    assert (records.run.status, records.run.error) == (
        RunStatus.FAILED,
        "it took longer than cluster.run_deadline, 10 s",
    )
    assert (tmp_path / "runs" / "mine" / "driver.log").read_text() == "said before it was stopped\n"
    assert runner.alive() == {}


def test_a_job_service_that_is_away_is_unavailable_and_looked_for_anew(tmp_path: Path) -> None:
    service = JobService()
    service.away = True
    for ask in (lambda runner: runner.alive(), lambda runner: runner.reconcile(Records().run)):
        runner = JobRunner(tmp_path, Records(), SystemClock())
        runner._client = service  # type: ignore[assignment]
        with pytest.raises(UnavailableError, match="the job service does not answer: refused"):
            ask(runner)
        assert runner._client is None
