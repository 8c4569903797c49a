"""Events against what the public specification requires of them, to a file and to a real HTTP server."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import orjson
import pytest

from raymlops.clock import ManualClock
from raymlops.config.infrastructure.metadata import OpenLineageConfig
from raymlops.errors import StorageError, TrainingError, UnavailableError
from raymlops.metadata import MetadataService
from raymlops.metadata.openlineage import (
    Emitter,
    FileTransport,
    HttpTransport,
    ObservedRuns,
    transports_of,
)
from raymlops.pipelines import Pipeline, PipelineRunner, Step
from raymlops.records.runs import Run, RunStatus
from raymlops.testing.metadata_examples import EPOCH, example_bundle, example_draft

REQUIRED = {
    "parent": {"run", "job"},
    "errorMessage": {"message", "programmingLanguage"},
    "executionParameters": {"parameters"},
    "sourceCodeLocation": {"type", "url"},
    "jobType": {"processingType", "integration"},
    "version": {"datasetVersion"},
}
"""Facet -> the fields that the specification requires of it, besides those that all facets have."""


def _load(context: Any, *, planes: int) -> dict[str, Any]:
    return {"rows": {"planes": planes}}


def _fit(context: Any, *, rows: dict[str, int]) -> dict[str, Any]:
    if context == "broken":
        raise TrainingError("no rows")
    return {"result": {"version": 1}}


PIPELINE = Pipeline(
    "flights",
    [
        Step("load", _load, {"rows": "json"}, data={"planes": "planes"}),
        Step("fit", _fit, {"result": "json"}, {"rows": "load.rows"}, deterministic=False),
    ],
    "fit.result",
)


def check_event(event: dict[str, Any]) -> None:
    """What the specification requires of every event, its run, job, datasets and facets."""
    assert {"eventTime", "run", "job", "producer", "schemaURL"} <= event.keys()
    assert event["eventType"] in {"START", "COMPLETE", "ABORT", "FAIL", "OTHER"}
    assert datetime.fromisoformat(event["eventTime"]).tzinfo is not None
    assert str(uuid.UUID(event["run"]["runId"])) == event["run"]["runId"]
    assert event["schemaURL"].startswith("https://openlineage.io/spec/2-")
    holders = [event["run"], event["job"], *event["inputs"], *event["outputs"]]
    for named in holders[1:]:
        assert {"namespace", "name"} <= named.keys()
    for holder in holders:
        for name, facet in holder.get("facets", {}).items():
            assert {"_producer", "_schemaURL"} | REQUIRED[name] <= facet.keys(), name
            assert facet["_schemaURL"].startswith("https://openlineage.io/spec/facets/")


class Sink:
    """An emitter's target in this process."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def send(self, event: Any) -> None:
        self.events.append(orjson.loads(orjson.dumps(event)))


@contextmanager
def _observed(path: Path, emitter: Emitter) -> Iterator[MetadataService]:
    clock = ManualClock(EPOCH)
    with closing(MetadataService(path / "m.db", clock=clock)) as service:
        service.runs = ObservedRuns(service, emitter, clock, "house")
        try:
            yield service
        finally:
            emitter.close()


def _run(service: MetadataService, path: Path, run_id: str, context: str = "") -> None:
    runner = PipelineRunner(path / "artifacts", service, ManualClock(EPOCH), data_versions={"planes": 12}.__getitem__)
    runner.run(PIPELINE, {}, run_id=run_id, context=context, bundle="b" * 64)


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    """A store with a bundle and a version 1 of its model, trained on version 12 of a table."""
    with _observed(tmp_path, Emitter([])) as service:
        service.deployments.put_bundle(example_bundle())
        draft = example_draft("delay").model_copy(update={"table_versions": {"planes": 12}})
        service.models.register_version(draft, key="k")
    return tmp_path


def test_a_run_and_its_steps_start_and_complete(prepared: Path) -> None:
    sink = Sink()
    with _observed(prepared, Emitter([sink])) as service:
        _run(service, prepared, "r1")
    for event in sink.events:
        check_event(event)
    told = [(event["job"]["name"], event["eventType"]) for event in sink.events]
    assert told == [
        ("flights", "START"),
        ("flights.load", "START"),
        ("flights.load", "COMPLETE"),
        ("flights.fit", "START"),
        ("flights.fit", "COMPLETE"),
        ("flights", "COMPLETE"),
    ]
    run, loaded, fitted = sink.events[-1], sink.events[2], sink.events[4]
    assert {event["run"]["runId"] for event in (sink.events[0], run)} == {run["run"]["runId"]}
    parent = loaded["run"]["facets"]["parent"]
    assert parent["run"]["runId"] == run["run"]["runId"]
    assert parent["job"] == {"namespace": "house", "name": "flights"}
    assert [(each["name"], _version(each)) for each in loaded["inputs"]] == [("table/planes", "12")]
    assert [(each["name"], _version(each)) for each in loaded["outputs"]] == [
        (each["name"], _version(each)) for each in fitted["inputs"]
    ]
    assert [(each["name"], _version(each)) for each in run["outputs"]] == [("model/delay", "1")]
    assert [(each["name"], _version(each)) for each in run["inputs"]] == [("table/planes", "12")]
    assert run["job"]["facets"]["sourceCodeLocation"]["version"] == "b" * 64


def _version(dataset: dict[str, Any]) -> str:
    return str(dataset["facets"]["version"]["datasetVersion"])


def test_what_fails_and_what_is_taken_over_is_told_so(prepared: Path) -> None:
    sink = Sink()
    with _observed(prepared, Emitter([])) as silent:
        _run(silent, prepared, "r1")
    with _observed(prepared, Emitter([sink])) as service:
        with pytest.raises(TrainingError):
            _run(service, prepared, "r2", "broken")
        parameters = {"depth": 3, "until": "2013-06-01", "weights": {"recent": 2.0}}
        service.runs.create_run(Run(id="r3", pipeline="flights", created_at=EPOCH, parameters=parameters))
        service.runs.update_run("r3", status=RunStatus.RUNNING)
        service.runs.update_run("r3", status=RunStatus.CANCELED, error="KeyboardInterrupt: ")
    for event in sink.events:
        check_event(event)
    told = [(event["job"]["name"], event["eventType"]) for event in sink.events]
    assert told == [
        ("flights", "START"),
        ("flights.load", "START"),
        ("flights.load", "COMPLETE"),
        ("flights.fit", "START"),
        ("flights.fit", "FAIL"),
        ("flights", "FAIL"),
        ("flights", "START"),
        ("flights", "ABORT"),
    ]
    failed = sink.events[5]["run"]["facets"]["errorMessage"]
    assert failed["message"] == "TrainingError: no rows"
    assert sink.events[-1]["run"]["facets"]["executionParameters"]["parameters"] == [
        {"key": "depth", "value": "3"},
        {"key": "until", "value": "2013-06-01"},
        {"key": "weights", "value": '{"recent":2.0}'},
    ]


def test_a_run_whose_job_was_killed_is_told_of_by_whoever_finds_it(prepared: Path) -> None:
    sink = Sink()
    with _observed(prepared, Emitter([])) as silent:
        silent.runs.create_run(Run(id="r", pipeline="flights", created_at=EPOCH))
        silent.runs.update_run("r", status=RunStatus.RUNNING)
    with _observed(prepared, Emitter([sink])) as service:
        service.runs.update_run("r", status=RunStatus.FAILED, error="the job ended: killed")
    assert [event["eventType"] for event in sink.events] == ["FAIL"]


def test_events_are_appended_to_a_file(prepared: Path) -> None:
    path = prepared / "deep" / "events.jsonl"
    (transport,) = transports_of(OpenLineageConfig(file=path))
    for run in ("r1", "r2"):
        with _observed(prepared, Emitter([transport])) as service:
            _run(service, prepared, run)
    events = [orjson.loads(line) for line in path.read_bytes().splitlines()]
    assert len(events) == 12
    for event in events:
        check_event(event)


def test_a_file_that_cannot_be_written_fails_no_run(prepared: Path) -> None:
    (prepared / "file").write_text("")
    broken = FileTransport(prepared / "file" / "events.jsonl")
    with pytest.raises(StorageError, match=r"OpenLineage file .*events\.jsonl"):
        broken.send({})
    emitter = Emitter([broken])
    with _observed(prepared, emitter) as service:
        _run(service, prepared, "r1")
        assert service.runs.get_run("r1").status is RunStatus.SUCCEEDED
    assert (emitter.sent, emitter.dropped) == (0, 6)


class Server(ThreadingHTTPServer):
    """A collector that answers as it is told, and keeps what it took."""

    daemon_threads = True

    def __init__(self, *answers: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers = list(answers)
        self.taken: list[Any] = []
        self.keys: list[str | None] = []
        self.asked = 0
        self.release = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}/api/v1/lineage"


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked += 1
        answer = self.server.answers.pop(0) if self.server.answers else 201
        if answer == 0:
            self.server.release.wait(20)  # says nothing for longer than anybody waits
            answer = 500
        if answer < 300:
            self.server.taken.append(orjson.loads(body))
            self.server.keys.append(self.headers["Authorization"])
        self.send_response(answer)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        return


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with Server(*getattr(request, "param", ())) as started:
        thread = threading.Thread(target=started.serve_forever, daemon=True)
        thread.start()
        yield started
        started.release.set()
        started.shutdown()
        thread.join(10)


@pytest.mark.parametrize("server", [(503, 429, 500)], indirect=True)
def test_an_endpoint_that_fails_is_asked_again(prepared: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINEAGE_KEY", "s3cret")
    (transport,) = transports_of(OpenLineageConfig(url=server.url, api_key_env="LINEAGE_KEY"))
    with _observed(prepared, Emitter([transport])) as service:
        _run(service, prepared, "r1")
    assert server.asked == 9
    assert [event["eventType"] for event in server.taken][:2] == ["START", "START"]
    assert set(server.keys) == {"Bearer s3cret"}
    for event in server.taken:
        check_event(event)


@pytest.mark.parametrize("server", [(400,)], indirect=True)
def test_an_event_that_is_refused_is_not_sent_again(server: Server) -> None:
    with pytest.raises(UnavailableError, match="400"):
        HttpTransport(server.url).send({})
    assert server.asked == 1


@pytest.mark.parametrize("server", [(0,) * 20], indirect=True)
def test_an_endpoint_that_hangs_holds_up_nothing_and_has_a_deadline(prepared: Path, server: Server) -> None:
    transport = HttpTransport(server.url, timeout_s=0.1, deadline_s=0.2, backoff_s=0.01)
    with pytest.raises(UnavailableError, match=r"api/v1/lineage: .*timed out"):
        transport.send({})
    slow = Emitter([HttpTransport(server.url, timeout_s=15, deadline_s=15)], capacity=2)
    with _observed(prepared, slow) as service:
        started = time.monotonic()
        _run(service, prepared, "r1")
        assert time.monotonic() - started < 10, "the run does not wait for the endpoint"
        assert service.runs.get_run("r1").status is RunStatus.SUCCEEDED
        assert slow.dropped >= 3, "what does not fit is counted"
        assert not slow.close(timeout_s=0.05)
        dropped = slow.dropped
        server.answers.clear()
        server.release.set()
        assert slow.close(timeout_s=20), "what was on its way is delivered, and the thread ends"
        assert (slow.sent, slow.dropped) == (1, dropped)
        slow.emit(lambda: pytest.fail("built"))
        assert slow.dropped == dropped + 1


def test_nobody_listens(prepared: Path) -> None:
    with pytest.raises(UnavailableError, match="refused"):
        HttpTransport("http://127.0.0.1:9/", deadline_s=0.05).send({})


def test_without_a_transport_nothing_is_built(prepared: Path) -> None:
    emitter = Emitter([])
    emitter.emit(lambda: pytest.fail("built"))
    assert emitter.close()
    assert transports_of(OpenLineageConfig()) == []


def test_an_event_that_cannot_be_built_is_dropped(prepared: Path) -> None:
    sink = Sink()
    emitter = Emitter([sink])
    emitter.emit(lambda: {}["missing"])
    emitter.emit(lambda: None)
    emitter.emit(lambda: {"fine": True})
    assert emitter.close()
    assert (sink.events, emitter.sent, emitter.dropped) == ([{"fine": True}], 1, 1)
