"""One model behind HTTP on a real cluster: errors, versions, swaps under load, killed replicas."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import aiohttp
import numpy as np
import psutil
import pyarrow as pa
import pytest
import requests

if TYPE_CHECKING:
    from raymlops.platform import Platform

pytestmark = pytest.mark.ray

MODEL = "sums"


def _estimator(sign: int) -> Any:
    from sklearn.linear_model import LogisticRegression

    rows = np.random.default_rng(0).normal(size=(400, 3))
    return LogisticRegression().fit(rows, sign * rows.sum(axis=1) > 0)


@pytest.fixture(scope="module")
def versions(platform: Platform) -> tuple[int, int]:
    example = pa.table({name: [0.1, -0.2] for name in "abc"})
    first, second = (platform.models.register(MODEL, _estimator(sign), example=example).version for sign in (1, -1))
    platform.endpoints.deploy(MODEL, first, replicas=2)
    return first, second


@pytest.fixture
def url(platform: Platform, versions: tuple[int, int]) -> str:
    return f"{platform.url}/v2/models/{MODEL}"


def _infer(rows: list[list[float]]) -> dict[str, Any]:
    flat = [value for row in rows for value in row]
    return {"inputs": [{"name": "features", "shape": [len(rows), 3], "datatype": "FP64", "data": flat}]}


def test_inference_names_the_version_that_answered(url: str, versions: tuple[int, int]) -> None:
    answer = requests.post(f"{url}/infer", json=_infer([[1.0, 2.0, 3.0]]), timeout=10).json()
    assert answer["model_version"] == str(versions[0])
    assert answer["parameters"]["role"] == "champion"
    outputs = {output["name"]: output["data"] for output in answer["outputs"]}
    assert outputs["label"] == [True]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/infer", b"{", 400),
        ("/infer", b"", 400),
        ("/infer", b'{"inputs": []}', 400),
        ("/infer", b'{"inputs": [{"name": "features", "shape": [1, 2], "datatype": "FP64", "data": [1, 2]}]}', 400),
        (
            "/infer",
            b'{"inputs": [{"name": "features", "shape": [1, 3], "datatype": "FP64", "data": ["x", 1, 2]}]}',
            400,
        ),
        ("/predict", b'{"instances": [{"a": 1.0}]}', 400),
        ("/predict", b'{"instances": [{"a": 1.0, "b": "text", "c": 2.0}]}', 400),
        ("/labels", b'{"labels": [{"request_id": "x"}]}', 400),
        ("/versions/99/infer", b"{}", 404),
        ("/nothing", b"{}", 404),
    ],
)
def test_what_is_wrong_is_said_and_never_a_500(url: str, path: str, body: bytes, status: int) -> None:
    answer = requests.post(url + path, data=body, timeout=10)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/json"
    assert answer.json().keys() == {"error"}


def test_an_unknown_model_is_404_on_every_route(platform: Platform, versions: tuple[int, int]) -> None:
    for path in ("", "/ready", "/infer", "/predict", "/plan", "/versions/1"):
        answer = requests.get(f"{platform.url}/v2/models/nobody{path}", timeout=10)
        assert (answer.status_code, list(answer.json())) == (404, ["error"])


def test_the_server_says_who_it_is(platform: Platform, versions: tuple[int, int]) -> None:
    assert requests.get(f"{platform.url}/v2", timeout=10).json()["name"] == "raymlops"
    assert requests.get(f"{platform.url}/v2/health/live", timeout=10).json() == {"live": True}
    assert requests.get(f"{platform.url}/v2/health/ready", timeout=10).json() == {"ready": True}
    assert "/v2/models/{model}/infer" in "".join(
        requests.get(f"{platform.url}/openapi.json", timeout=10).json()["paths"]
    )


async def _ask_until(url: str, done: asyncio.Event, answers: list[tuple[int, Any]]) -> None:
    async with aiohttp.ClientSession() as session:
        while not done.is_set():
            async with session.post(f"{url}/infer", json=_infer([[1.0, 2.0, 3.0]])) as response:
                answers.append((response.status, await response.json(content_type=None)))


def test_swaps_under_load_lose_and_mix_nothing(platform: Platform, url: str, versions: tuple[int, int]) -> None:
    answers: list[tuple[int, Any]] = []

    async def load() -> None:
        done = asyncio.Event()
        askers = [asyncio.create_task(_ask_until(url, done, answers)) for _ in range(4)]
        for version in (versions[1], versions[0], versions[1], versions[0]):
            await asyncio.to_thread(platform.endpoints.promote, MODEL, version)
        done.set()
        await asyncio.gather(*askers)

    asyncio.run(load())
    assert {status for status, _ in answers} == {200}
    said = {(a["model_version"], next(o["data"][0] for o in a["outputs"] if o["name"] == "label")) for _, a in answers}
    assert said == {(str(versions[0]), True), (str(versions[1]), False)}


def test_only_the_http_port_could_be_reached_from_elsewhere(platform: Platform, url: str) -> None:
    """Ray binds HAProxy's metrics and statistics to all interfaces, at the start and at each reload."""
    note = json.loads((platform.config.home / "cluster.json").read_text())
    proxies = [
        process
        for process in psutil.process_iter(["name", "cmdline"])
        if process.info["name"] == "haproxy" and f"rml-{note['cluster_id']}" in " ".join(process.info["cmdline"])
    ]
    assert proxies
    bound = {one.laddr.ip for proxy in proxies for one in proxy.net_connections("inet") if one.status == "LISTEN"}
    assert bound == {"127.0.0.1"}


def _replicas() -> Iterator[psutil.Process]:
    for process in psutil.process_iter(["cmdline"]):
        if f"model-{MODEL}" in " ".join(process.info["cmdline"] or ()):
            yield process


def test_a_killed_replica_comes_back_with_the_present_plan(
    platform: Platform, url: str, versions: tuple[int, int]
) -> None:
    plan = platform.endpoints.promote(MODEL, versions[1])
    victims = list(_replicas())
    assert victims
    os.kill(victims[0].pid, signal.SIGKILL)
    psutil.wait_procs(victims[:1], timeout=10)
    platform.endpoints.flush(MODEL)  # reaches every replica that runs
    good = 0
    for _ in range(400):
        answer = requests.post(f"{url}/infer", json=_infer([[1.0, 2.0, 3.0]]), timeout=10)
        if answer.status_code == 200:
            assert answer.json()["model_version"] == str(plan.champion)
            good += 1
    assert good >= 390
