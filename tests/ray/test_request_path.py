"""What one caller sends, over the real port: it harms himself at most."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import requests

from raymlops.errors import DataError, SchemaMismatch
from raymlops.runtime.supervision.home_note import noted_cluster

if TYPE_CHECKING:
    from raymlops.platform import Platform

pytestmark = pytest.mark.ray

MODEL = "towns"
DEADLINE_S = 60


@pytest.fixture(scope="module")
def version(platform: Platform) -> int:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    rows = pd.DataFrame({"city": ["Oslo", "Rom", "Bern"] * 20})
    estimator = make_pipeline(OneHotEncoder(), LogisticRegression()).fit(rows, [0, 1, 1] * 20)
    example = pa.Table.from_pandas(rows, preserve_index=False)
    registered = platform.models.register(MODEL, estimator, example=example)
    platform.endpoints.deploy(MODEL, registered.version)
    return registered.version


@pytest.fixture
def url(platform: Platform, version: int) -> str:
    return f"{platform.url}/v2/models/{MODEL}"


def infer(url: str, *cities: str, **more: str) -> requests.Response:
    tensor = {"name": "city", "datatype": "BYTES", "shape": [len(cities)], "data": list(cities)}
    return requests.post(f"{url}/infer", json={"inputs": [tensor], **more}, timeout=DEADLINE_S)


def test_categories_never_seen_are_the_callers_400_and_close_the_model_to_nobody(url: str) -> None:
    assert infer(url, "Oslo").status_code == 200
    answers = [infer(url, "Kyoto") for _ in range(8)]
    assert {answer.status_code for answer in answers} == {400}
    assert "the model takes no such rows: ValueError: Found unknown categories" in answers[0].json()["error"]
    assert infer(url, "Rom").status_code == 200


def test_large_bodies_are_answered_and_nobody_is_refused_meanwhile(url: str) -> None:
    rows = (16 * 2**20 - 4096) // 8
    nested = b'{"inputs":[{"name":"features","datatype":"FP64","shape":[%d,3],"data":[%s]}]}' % (
        rows,
        b",".join([b"[1,2,3]"] * rows),
    )
    statuses: list[int] = []

    def send() -> None:
        statuses.append(requests.post(f"{url}/infer", nested, timeout=DEADLINE_S).status_code)

    sending = [threading.Thread(target=send) for _ in range(2)]
    for thread in sending:
        thread.start()
    while any(thread.is_alive() for thread in sending):
        assert infer(url, "Bern").status_code == 200
    # read and refused, or, where the machine is busy, not read within the deadline
    assert set(statuses) <= {400, 504}
    assert infer(url, *["Oslo"] * 20_000).json()["outputs"][0]["shape"] == [20_000]
    assert "at most 65536 characters" in infer(url, "x" * 1_000_000).json()["error"]


def test_a_websocket_is_refused_and_serves_own_list_is_not_shown(platform: Platform, url: str) -> None:
    wanted = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    for path in (f"{url}/infer", f"{platform.url}/v2"):
        answer = requests.get(path, headers=wanted, timeout=DEADLINE_S)
        assert (answer.status_code, list(answer.json())) == (400, ["error"])
    assert requests.get(f"{platform.url}/-/healthz", timeout=DEADLINE_S).status_code == 200
    note = noted_cluster(platform.config.home)
    assert note is not None
    if note.foreign:
        return  # HAProxy of a cluster of somebody else shows the list to everybody
    routes = requests.get(f"{platform.url}/-/routes", timeout=DEADLINE_S)
    assert (routes.status_code, MODEL in routes.text) == (404, False)


def test_models_are_listed_and_head_is_get(platform: Platform, url: str, version: int) -> None:
    assert MODEL in requests.get(f"{platform.url}/v2/models", timeout=DEADLINE_S).json()["models"]
    for method in ("GET", "POST"):
        index = requests.request(method, f"{platform.url}/v2/repository/index", timeout=DEADLINE_S).json()
        (row,) = [row for row in index if row["name"] == MODEL]
        assert row == {"name": MODEL, "version": str(version), "state": "READY", "reason": ""}
    for path in (url, f"{url}/ready", f"{url}/plan", f"{platform.url}/v2", f"{platform.url}/v2/models"):
        head, get = (requests.request(method, path, timeout=DEADLINE_S) for method in ("HEAD", "GET"))
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-length"] == get.headers["content-length"]


def test_a_key_names_one_batch_of_labels(url: str) -> None:
    def send(label: int) -> requests.Response:
        body = {"labels": [{"request_id": "first", "label": label}]}
        headers = {"Idempotency-Key": "batch-1"}
        return requests.post(f"{url}/labels", json=body, headers=headers, timeout=DEADLINE_S)

    assert infer(url, "Oslo", id="first").status_code == 200
    assert [send(1).status_code, send(1).status_code] == [200, 200]
    refused = send(0)
    assert (refused.status_code, "came with other rows before" in refused.json()["error"]) == (409, True)


def test_instants_far_from_the_clock_are_refused(url: str) -> None:
    for year in ("0001", "1970", "9999"):
        at = f"{year}-01-01T00:00:00Z"
        body: dict[str, Any] = {"instances": [{"city": "Oslo"}], "parameters": {"at": at}}
        assert requests.post(f"{url}/predict", json=body, timeout=DEADLINE_S).status_code == 400
        labels = {"labels": [{"request_id": "first", "label": 1, "event_time": at}]}
        assert requests.post(f"{url}/labels", json=labels, timeout=DEADLINE_S).status_code == 400


@pytest.mark.slow
def test_what_is_registered_is_answered_and_recorded_or_refused(platform: Platform) -> None:
    from sklearn.linear_model import LinearRegression

    rows = np.random.default_rng(0).normal(size=(60, 2))
    column = rows.sum(axis=1).reshape(-1, 1)

    def register(name: str, target: Any, *inputs: str) -> int:
        frame = pd.DataFrame(rows, columns=list(inputs))
        example = pa.Table.from_pandas(frame, preserve_index=False)
        return platform.models.register(name, LinearRegression().fit(frame, target), example=example).version

    with pytest.raises(DataError, match="one value or one label"):
        register("two-outputs", np.c_[column, column], "a", "b")
    for inputs in (("Score", "b"), ("Age", "age")):
        with pytest.raises(SchemaMismatch, match="case"):
            register("odd-names", column, *inputs)
    version = register("column", column, "Ünïcode name", "a.b")
    platform.endpoints.deploy("column", version)
    tensors = [{"name": name, "datatype": "FP64", "shape": [1], "data": [1.0]} for name in ("Ünïcode name", "a.b")]
    body = json.dumps({"id": "r1", "inputs": tensors})
    answer = requests.post(f"{platform.url}/v2/models/column/infer", body, timeout=DEADLINE_S)
    assert answer.json()["outputs"][0] == {
        "name": "value",
        "datatype": "FP64",
        "shape": [1],
        "data": pytest.approx([2.0]),
    }
    assert platform.endpoints.flush("column") == 0
    assert platform.models.rescore("column", version) == pytest.approx({"r1": 2.0})
