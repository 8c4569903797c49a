from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from raymlops.config.serving import EventLogConfig, ServingConfig
from raymlops.errors import ConflictError, ModelLoadFailed, StorageError, UnavailableError
from raymlops.records.models import ModelManifest
from raymlops.records.plans import ServingPlan, Trial
from raymlops.records.record import sha256_of
from raymlops.serving import HttpReply, HttpRequest
from raymlops.serving.models.model import Model, columns_of
from raymlops.serving.models.model_files import load_model

pytestmark = pytest.mark.asyncio

INSTANCE = {"origin": "JFK", "distance": 500.0, "hour": 8}


def read(reply: HttpReply, status: int = 200) -> Any:
    assert reply.status == status, reply
    assert reply.headers["content-type"] == "application/json"
    document = orjson.loads(reply.body)
    if status != 200:
        assert list(document) == ["error"]
        assert "Traceback" not in document["error"]
    return document


def score(document: Any) -> float:
    return float(document["outputs"][1]["data"][1])


@pytest.fixture
def models(model_root: Path, manifests: dict[int, ModelManifest]) -> dict[int, Model]:
    return {
        version: load_model(model_root / str(version), manifest, sha256_of(manifest))
        for version, manifest in manifests.items()
    }


@pytest.fixture
def expected(models: dict[int, Model], helpers: Any) -> dict[str, float]:
    """P(class 1) of ``matrix_body``'s row, by version."""
    row = dict(zip(helpers.INPUTS, np.array([[500.0], [8.0], [5.0], [0.0]]), strict=True))
    return {str(version): float(model.predict(row)["probability"][0, 1]) for version, model in models.items()}


async def events_of(service: Any) -> list[dict[str, Any]]:
    assert await service.endpoint.flush(5) == 0
    rows: list[dict[str, Any]] = service.sink.rows
    return rows


async def test_infer(service: Any, helpers: Any, expected: dict[str, float]) -> None:
    document = read(await service.post("/infer", helpers.matrix_body(id="r1")))
    assert {key: document[key] for key in ("model_name", "model_version", "id", "parameters")} == {
        "model_name": "delay",
        "model_version": "1",
        "id": "r1",
        "parameters": {"role": "champion"},
    }
    assert [(output["name"], output["shape"]) for output in document["outputs"]] == [
        ("label", [1]),
        ("probability", [1, 2]),
    ]
    assert score(document) == expected["1"]
    (event,) = await events_of(service)
    assert (event["request_id"], event["version"], event["role"], event["score"]) == (
        "r1",
        1,
        "champion",
        expected["1"],
    )
    assert (event["distance"], event["event_time"], event["served_at"]) == (500.0, helpers.NOW, helpers.NOW)


async def test_an_id_is_made_and_is_the_one_of_the_event(service: Any, helpers: Any) -> None:
    documents = [read(await service.post("/infer", helpers.matrix_body())) for _ in range(2)]
    ids = [document["id"] for document in documents]
    assert len(set(ids)) == 2
    assert [event["request_id"] for event in await events_of(service)] == ids


async def test_predict_joins_features(service: Any, models: dict[int, Model], helpers: Any) -> None:
    body = {"id": "p1", "instances": [INSTANCE, INSTANCE | {"origin": "EWR"}]}
    document = read(await service.post("/predict", body))
    missing = ["weather__wind", "weather__rain"]
    assert document["parameters"] == {"role": "champion", "missing": [[], missing]}
    values = [[500.0, 500.0], [8.0, 8.0], [10.0, np.nan], [0.5, np.nan]]
    columns = dict(zip(helpers.INPUTS, np.array(values), strict=True))
    assert document["outputs"][1]["data"] == models[1].predict(columns)["probability"].ravel().tolist()
    events = await events_of(service)
    assert [event["entity"] for event in events] == ['{"origin":"JFK"}', '{"origin":"EWR"}']
    assert [(event["row"], event["missing"], event["weather__wind"]) for event in events] == [
        (0, 0, 10.0),
        (1, 2, None),
    ]


async def test_predict_equals_infer_on_the_same_values(service: Any, helpers: Any) -> None:
    predicted = read(await service.post("/predict", {"instances": [INSTANCE]}))
    inferred = read(await service.post("/infer", helpers.matrix_body([(500.0, 8.0, 10.0, 0.5)])))
    assert predicted["outputs"] == inferred["outputs"]


async def test_the_instant_asked_for_is_the_events(service: Any) -> None:
    at = "2013-06-01T11:00:00+00:00"
    read(await service.post("/predict", {"instances": [INSTANCE], "parameters": {"at": at}}))
    (event,) = await events_of(service)
    assert event["event_time"].isoformat() == at
    assert event["served_at"].isoformat() == "2013-06-01T12:00:00+00:00"


async def test_metadata_ready_and_plan(service: Any) -> None:
    service.serve(2, 1, backup=2)
    metadata = read(await service.get())
    assert metadata["versions"] == ["1", "2"]
    assert metadata["inputs"][1] == {"name": "hour", "datatype": "INT64", "shape": [-1]}
    assert metadata["outputs"][1] == {"name": "probability", "datatype": "FP64", "shape": [-1, 2]}
    assert read(await service.get("/versions/2")) == metadata
    assert read(await service.get("/ready")) == {"name": "delay", "ready": True}
    assert read(await service.get("/versions/2/ready/")) == {"name": "delay", "ready": True}
    plan = await service.get("/plan")
    assert ServingPlan.model_validate_json(plan.body).number == 2


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("version", ["", "/versions/1"])
async def test_every_route_has_two_forms_and_may_end_in_a_slash(
    service: Any, helpers: Any, version: str, slash: str
) -> None:
    assert read(await service.get(f"{version}{slash}"))["name"] == "delay"
    assert read(await service.get(f"{version}/ready{slash}")) == {"name": "delay", "ready": True}
    assert read(await service.post(f"{version}/infer{slash}", helpers.matrix_body(id="r")))["id"] == "r"


async def test_flat_and_nested_data_are_answered_alike(service: Any, helpers: Any) -> None:
    rows = [[500.0, 8.0, 5.0, 0.0], [900.0, 9.0, 1.0, 2.0]]
    flat = helpers.matrix_body(rows)
    nested = {"inputs": [flat["inputs"][0] | {"data": rows}]}
    answers = [read(await service.post("/infer", body))["outputs"] for body in (flat, nested)]
    assert answers[0] == answers[1]


async def test_a_pinned_version_answers_and_nobody_else(service: Any, helpers: Any, expected: dict[str, float]) -> None:
    service.serve(2, 1, backup=2, trial=Trial(version=3, weight=1))
    for version, role in (("1", "champion"), ("2", "backup")):
        document = read(await service.post(f"/versions/{version}/infer", helpers.matrix_body()))
        assert (document["model_version"], document["parameters"]["role"]) == (version, role)
        assert score(document) == expected[version]
    assert service.candidate.calls == 0


@pytest.mark.parametrize(
    "path",
    ["/versions/3", "/versions/3/infer", "/versions/x", "/versions/²", "/versions/", "/versions/1/predict", "/nothing"],
)
async def test_unknown_versions_and_paths_are_404(service: Any, path: str) -> None:
    read(await (service.post(path, b"") if path.endswith("infer") else service.get(path)), 404)


async def test_other_models_are_404(service: Any) -> None:
    for path in ("/v2/models/delayed/infer", "/v2/models", "/"):
        read(await service.endpoint.handle(HttpRequest("POST", path)), 404)


@pytest.mark.parametrize(("method", "path"), [("GET", "/infer"), ("POST", ""), ("DELETE", "/labels")])
async def test_wrong_methods_are_405(service: Any, method: str, path: str) -> None:
    read(await service.endpoint.handle(HttpRequest(method, f"/v2/models/delay{path}")), 405)


@pytest.mark.parametrize("action", ["/infer", "/predict", "/labels"])
@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff\xfe", b'{"inputs": 5, "instances": 5, "labels": 5}'])
async def test_malformed_bodies_are_400(service: Any, action: str, body: bytes) -> None:
    read(await service.post(action, body), 400)


async def test_inputs_out_of_range_are_400_and_no_failure_of_the_model(service: Any, helpers: Any) -> None:
    service.serve(2, 1, backup=2)
    reply = await service.post("/infer", helpers.matrix_body([("Infinity", 1.0, 1.0, 1.0)]))
    assert "'distance'" in read(reply, 400)["error"]
    assert await events_of(service) == []


async def test_an_encoded_body_is_400(service: Any) -> None:
    assert "content-encoding" in read(await service.post("/infer", b"\x1f\x8b", content_encoding="gzip"), 400)["error"]


async def test_a_large_body_is_413(make_service: Callable[..., Any]) -> None:
    service = make_service(ServingConfig(body_limit_bytes=1024))
    service.serve()
    assert "1024" in read(await service.post("/infer", b" " * 1025), 413)["error"]
    read(await service.post("/infer", b" " * 1024), 400)


async def test_before_a_plan_is_loaded_it_is_503(make_service: Callable[..., Any], helpers: Any) -> None:
    service = make_service()
    assert service.endpoint.number == 0
    for reply in (
        await service.get("/ready"),
        await service.get(),
        await service.post("/infer", helpers.matrix_body()),
    ):
        read(reply, 503)
        assert reply.headers["retry-after"] == "1"


async def test_too_many_requests_are_429(make_service: Callable[..., Any], helpers: Any) -> None:
    service = make_service(ServingConfig(max_in_flight=2))
    service.serve(trial=Trial(version=2, weight=1, deadline_ms=5000))
    service.candidate.delay_s = 0.05
    replies = await asyncio.gather(*(service.post("/infer", helpers.matrix_body()) for _ in range(5)))
    assert Counter(reply.status for reply in replies) == {200: 2, 429: 3}
    assert {reply.headers["retry-after"] for reply in replies if reply.status == 429} == {"1"}
    assert service.endpoint.stats.in_flight == 0
    read(await service.post("/infer", helpers.matrix_body()))


async def test_an_answer_after_the_deadline_is_504(make_service: Callable[..., Any], helpers: Any) -> None:
    service = make_service(ServingConfig(deadline="10ms", events=EventLogConfig(flush_every="10ms")))
    service.serve(trial=Trial(version=2, weight=1, deadline_ms=5))
    service.candidate.behave = lambda columns: threading.Event().wait(0.02)
    assert "0.01 s" in read(await service.post("/infer", helpers.matrix_body()), 504)["error"]
    (event,) = await events_of(service)
    assert event["error"].startswith("deadline")
    assert event["score"] is None


async def test_a_bug_is_500_and_is_logged(service: Any, caplog: pytest.LogCaptureFixture) -> None:
    def fail(rows: Any, at_us: Any) -> Any:
        raise ZeroDivisionError("secret")

    service.online.read = fail
    assert read(await service.post("/predict", {"instances": [INSTANCE]}), 500) == {"error": "internal error"}
    assert "ZeroDivisionError" in caplog.text


async def test_an_unreadable_feature_store_is_503(service: Any) -> None:
    def fail(rows: Any, at_us: Any) -> Any:
        raise StorageError("online.lmdb cannot be read")

    service.online.read = fail
    assert "online.lmdb" in read(await service.post("/predict", {"instances": [INSTANCE]}), 503)["error"]


class Raising:
    """A model that loads well and fails at work."""

    def __init__(self, model: Model, answer: Any = None) -> None:
        self.schema, self.signature, self._answer = model.schema, model.signature, answer

    def encode(self, columns: Any) -> Any:
        return columns

    def stack(self, encoded: Any) -> Any:
        return encoded

    def score(self, encoded: Any) -> Any:
        if self._answer is None:
            raise ValueError("worn out")
        return self._answer

    def predict(self, columns: Any) -> Any:
        return self.score(self.encode(columns))

    def importances(self) -> dict[str, float]:
        return {}


def break_version(service: Any, version: int, answer: Any = None) -> None:
    """Let a version in process fail from now on."""
    from dataclasses import replace
    from types import MappingProxyType

    serving = service.endpoint.slot.current
    loaded = serving.versions[version]
    bad = replace(loaded, model=Raising(loaded.model, answer))
    role = "champion" if version == serving.champion.version else "backup"
    versions = MappingProxyType({**serving.versions, version: bad})
    service.endpoint.slot.current = replace(serving, versions=versions, **{role: bad})


NAN = {"label": np.array([0]), "probability": np.array([[np.nan, np.nan]])}


@pytest.mark.parametrize(("answer", "reason"), [(None, "ValueError: worn out"), (NAN, "answered NaN")])
async def test_the_backup_answers_for_a_failing_champion(
    service: Any, helpers: Any, expected: dict[str, float], answer: Any, reason: str
) -> None:
    service.serve(2, 1, backup=2)
    break_version(service, 1, answer)
    document = read(await service.post("/infer", helpers.matrix_body()))
    assert (document["model_version"], document["parameters"]["role"]) == ("2", "backup")
    assert score(document) == expected["2"]
    (event,) = await events_of(service)
    assert (event["version"], event["role"], event["error"]) == (2, "backup", None)
    assert event["fallback"].startswith("champion 1: ")
    assert reason in event["fallback"]


@pytest.mark.parametrize("backup", [None, 2])
async def test_where_nobody_can_answer_it_is_503(service: Any, helpers: Any, backup: int | None) -> None:
    service.serve(2, 1, backup=backup)
    break_version(service, 1)
    if backup is not None:
        break_version(service, 2)
    error = read(await service.post("/infer", helpers.matrix_body(id="r")), 503)["error"]
    assert "champion 1" in error
    assert "worn out" not in error
    (event,) = await events_of(service)
    assert (event["request_id"], event["version"], event["score"]) == ("r", 1, None)
    assert "ValueError: worn out" in event["error"]


async def test_a_failing_pinned_version_is_503(service: Any, helpers: Any) -> None:
    service.serve(2, 1, backup=2)
    break_version(service, 1)
    read(await service.post("/versions/1/infer", helpers.matrix_body()), 503)


async def test_after_a_restart_the_backup_answers_for_a_corrupt_champion(
    make_service: Callable[..., Any], versions: Any, tmp_path: Path, manifests: dict[int, ModelManifest], helpers: Any
) -> None:
    versions.add(9, tmp_path, manifests[3])
    service = make_service()
    service.serve(1, 9, backup=1)
    document = read(await service.post("/infer", helpers.matrix_body()))
    assert (document["model_version"], document["parameters"]["role"]) == ("1", "backup")
    read(await service.get("/ready"))
    read(await service.get("/versions/9/ready"), 503)


async def test_a_corrupt_model_is_refused_and_the_old_one_keeps_serving(
    service: Any, helpers: Any, tmp_path: Path, manifests: dict[int, ModelManifest]
) -> None:
    for name in manifests[3].files:
        (tmp_path / name).write_bytes(b"corrupt")
    service.versions.add(9, tmp_path, manifests[3])
    with pytest.raises(ModelLoadFailed, match="SHA-256"):
        service.serve(2, 9, backup=1)
    assert service.endpoint.number == 1
    assert read(await service.post("/infer", helpers.matrix_body()))["model_version"] == "1"


def fail(columns: Any) -> Any:
    raise RuntimeError("candidate crashed")


@pytest.mark.parametrize(
    ("behave", "delay_s", "reason"),
    [
        (fail, 0, "raised RuntimeError: candidate crashed"),
        (None, 5, "timeout: no answer within 20 ms"),
        (lambda columns: NAN, 0, "answered NaN"),
        (lambda columns: {"value": None}, 0, "something else"),
    ],
)
async def test_a_bad_canary_costs_nobody_an_answer(
    service: Any, helpers: Any, expected: dict[str, float], behave: Any, delay_s: float, reason: str
) -> None:
    service.serve(2, 1, trial=Trial(version=3, weight=1, deadline_ms=20))
    service.candidate.delay_s = delay_s
    if behave is not None:
        service.candidate.behave = behave
    for action, body in (("/infer", helpers.matrix_body()), ("/predict", {"instances": [INSTANCE]})):
        document = read(await service.post(action, body))
        assert (document["model_version"], document["parameters"]["role"]) == ("1", "champion")
    assert service.candidate.calls == 2
    for event in await events_of(service):
        assert (event["version"], event["role"], event["error"]) == (1, "champion", None)
        assert event["fallback"].startswith("canary 3: ")
        assert reason in event["fallback"]


async def test_a_failing_canary_and_champion_leave_the_backup(service: Any, helpers: Any) -> None:
    service.serve(2, 1, backup=2, trial=Trial(version=3, weight=1))
    service.candidate.behave = fail
    break_version(service, 1)
    assert read(await service.post("/infer", helpers.matrix_body()))["model_version"] == "2"
    (event,) = await events_of(service)
    assert event["fallback"].split("; ")[0].startswith("canary 3")
    assert event["fallback"].split("; ")[1].startswith("champion 1")


async def test_a_good_canary_answers(service: Any, helpers: Any) -> None:
    service.serve(2, 1, trial=Trial(version=3, weight=1))
    document = read(await service.post("/infer", helpers.matrix_body()))
    assert (document["model_version"], document["parameters"]["role"]) == ("3", "canary")
    assert score(document) == 0.875
    (event,) = await events_of(service)
    assert (event["version"], event["role"], event["score"], event["fallback"]) == (3, "canary", 0.875, None)


async def test_a_canary_gets_its_share_and_the_same_ones(service: Any, helpers: Any) -> None:
    service.serve(2, 1, trial=Trial(version=3, weight=0.2))

    async def roles() -> list[str]:
        replies = [await service.post("/infer", helpers.matrix_body(id=f"r{n}")) for n in range(250)]
        return [read(reply)["parameters"]["role"] for reply in replies]

    first = await roles()
    assert await roles() == first
    assert abs(first.count("canary") / 250 - 0.2) < 4 * (0.2 * 0.8 / 250) ** 0.5
    sticky = {
        read(await service.post("/infer", helpers.matrix_body(), x_sticky_key="caller"))["parameters"]["role"]
        for _ in range(20)
    }
    assert len(sticky) == 1


async def test_a_shadow_sees_and_never_answers(service: Any, helpers: Any) -> None:
    service.serve(2, 1, trial=Trial(version=3, weight=1, mode="shadow"))
    service.endpoint.start()
    document = read(await service.post("/infer", helpers.matrix_body(id="r")))
    assert (document["model_version"], document["parameters"]["role"]) == ("1", "champion")
    by_role = {event["role"]: event for event in await events_of(service)}
    assert set(by_role) == {"champion", "shadow"}
    assert (by_role["shadow"]["request_id"], by_role["shadow"]["version"], by_role["shadow"]["score"]) == (
        "r",
        3,
        0.875,
    )
    service.candidate.behave = fail
    read(await service.post("/infer", helpers.matrix_body(id="s")))
    failed = [event for event in await events_of(service) if event["request_id"] == "s" and event["role"] == "shadow"]
    assert [(event["score"], event["error"]) for event in failed] == [(None, "raised RuntimeError: candidate crashed")]
    assert await service.endpoint.stop() == 0


async def test_a_slow_shadow_delays_nobody_and_drops_are_counted(
    make_service: Callable[..., Any], helpers: Any
) -> None:
    service = make_service(ServingConfig(shadow_queue_rows=3))
    service.serve(1, 1, trial=Trial(version=3, weight=1, mode="shadow", deadline_ms=5000))
    service.candidate.delay_s = 30
    service.endpoint.start()
    async with asyncio.timeout(5):
        for _ in range(10):
            read(await service.post("/infer", helpers.matrix_body()))
    assert service.endpoint.stats.shadow_dropped_rows == 7
    await service.endpoint.stop()
    assert service.endpoint.stats.shadow_dropped_rows == 10


async def test_labels(service: Any, helpers: Any) -> None:
    body = {"labels": [{"request_id": "r", "row": 0, "label": 1}]}
    assert read(await service.post("/labels", body, idempotency_key="k")) == {"recorded": 1}
    ((batch_id, table),) = service.labels.tables.items()
    assert batch_id == "k"
    assert table.to_pylist() == [{"request_id": "r", "row": 0, "label": 1.0, "event_time": helpers.NOW}]
    service.labels.error = UnavailableError("the monitor died")
    read(await service.post("/labels", body), 503)


async def test_a_silent_label_store_is_504_and_none_is_503(make_service: Callable[..., Any]) -> None:
    body = {"labels": [{"request_id": "r", "label": 1}]}
    slow = make_service(ServingConfig(deadline="5ms"))
    slow.serve()
    slow.labels.delay_s = 5
    read(await slow.post("/labels", body), 504)
    without = make_service(labels=None)
    without.serve()
    read(await without.post("/labels", body), 503)


async def test_an_older_plan_never_replaces_a_newer_one(service: Any, helpers: Any) -> None:
    newer, older = (
        service.endpoint.slot.load(helpers.make_plan(number, version)) for number, version in ((3, 3), (2, 2))
    )
    assert service.endpoint.slot.swap(newer)
    assert not service.endpoint.slot.swap(older)
    assert not service.endpoint.slot.swap(newer)
    assert service.endpoint.number == 3
    assert service.endpoint.slot.load(helpers.make_plan(3, 3)) is newer


async def test_another_models_plan_is_refused(service: Any, helpers: Any) -> None:
    from dataclasses import replace

    with pytest.raises(ConflictError, match="'delay'"):
        service.endpoint.slot.load(helpers.make_plan().model_copy(update={"model": "other"}))
    serving = service.endpoint.slot.load(helpers.make_plan())
    with pytest.raises(ConflictError, match="'delay'"):
        service.endpoint.slot.swap(replace(serving, plan=helpers.make_plan().model_copy(update={"model": "other"})))


async def test_swaps_under_load_never_mix_version_and_answer(
    service: Any, helpers: Any, expected: dict[str, float]
) -> None:
    assert len(set(expected.values())) == 3
    stopped, served = threading.Event(), Counter[str]()

    def swap_all_the_time() -> None:
        number = service.endpoint.number
        while not stopped.is_set():
            number += 1
            trial = Trial(version=3, weight=0.3) if number % 2 else None
            service.serve(number, 1 + number % 2, backup=2 - number % 2, trial=trial)

    async def ask_all_the_time() -> None:
        # a machine that has other things to do may swap late
        while served.total() < 200 or not (served["1"] and served["2"]):
            document = read(await service.post("/infer", helpers.matrix_body()))
            version, role = document["model_version"], document["parameters"]["role"]
            served[version] += 1
            assert score(document) == (0.875 if role == "canary" else expected[version])
            assert (role == "canary") == (version == "3")

    service.candidate.delay_s = 0.001
    thread = threading.Thread(target=swap_all_the_time)
    thread.start()
    try:
        async with asyncio.timeout(60):
            await asyncio.gather(*(ask_all_the_time() for _ in range(5)))
    finally:
        stopped.set()
        thread.join()
    assert set(service.endpoint.stats.replies) == {200}
    for event in await events_of(service):
        assert event["score"] == (0.875 if event["role"] == "canary" else expected[str(event["version"])])


async def test_a_request_under_way_ends_with_what_it_began_with(
    service: Any, helpers: Any, expected: dict[str, float]
) -> None:
    service.serve(2, 1, trial=Trial(version=3, weight=1, deadline_ms=30))
    service.candidate.delay_s = 5
    asking = asyncio.create_task(service.post("/infer", helpers.matrix_body()))
    await asyncio.sleep(0.005)
    service.serve(3, 2)
    assert read(await service.post("/infer", helpers.matrix_body()))["model_version"] == "2"
    document = read(await asking)
    assert (document["model_version"], score(document)) == ("1", expected["1"])


async def test_stop_loses_no_event(service: Any, helpers: Any) -> None:
    service.endpoint.start()
    for number in range(120):
        read(await service.post("/infer", helpers.matrix_body(id=f"r{number}")))
        if number % 40 == 0:
            await asyncio.sleep(0.002)
    service.sink.errors = [UnavailableError("the monitor restarts")]
    assert await service.endpoint.stop() == 0
    assert [event["request_id"] for event in service.sink.rows] == [f"r{number}" for number in range(120)]
    stats = service.endpoint.stats
    assert stats.replies == {200: 120}
    assert stats.events is not None
    assert (stats.events.acknowledged, stats.events.dropped) == (120, 0)


async def test_a_table_of_examples_is_what_infer_answers(service: Any, models: dict[int, Model], helpers: Any) -> None:
    table = helpers.example_table()
    columns = columns_of(table, models[1].signature)
    inputs = [
        {"name": name, "datatype": "FP64", "shape": [20], "data": [None if v != v else v for v in values.tolist()]}
        for name, values in columns.items()
    ]
    document = read(await service.post("/infer", {"inputs": inputs}))
    assert document["outputs"][1]["data"] == models[1].predict(columns)["probability"].ravel().tolist()
