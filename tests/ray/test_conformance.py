"""Clients of the Open Inference Protocol that we did not write, and callers who mean no good, at a real endpoint."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import grpc
import numpy as np
import pyarrow as pa
import pytest

from raymlops.runtime.supervision.home_note import noted_cluster
from raymlops.serving.front import open_inference_pb2 as pb
from tests.support.malformed_requests import malformed_requests

if TYPE_CHECKING:
    from raymlops.platform import Platform

pytestmark = pytest.mark.ray

MODEL = "kinds"
TYPES = {
    "BOOL": pa.bool_(),
    **{f"{sign}INT{bits}": getattr(pa, f"{sign.lower()}int{bits}")() for sign in ("", "U") for bits in (8, 16, 32, 64)},
    **{f"FP{bits}": getattr(pa, f"float{bits}")() for bits in (16, 32, 64)},
    "BYTES": pa.string(),
}
COLUMNS = {datatype.lower(): (datatype, float(weight)) for weight, datatype in enumerate(TYPES, start=1)}
TEXT_WEIGHT = 100.0


def _of_every_datatype() -> tuple[Any, pa.Table]:
    """The weighted sum of one column of each datatype, and more where the text is ``ä``."""
    import pandas as pd
    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import LinearRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    numbers = np.random.default_rng(0).integers(0, 2, (200, len(COLUMNS) - 1))
    frame = pd.DataFrame({name: numbers[:, i].astype(float) for i, name in enumerate(COLUMNS) if name != "bytes"})
    weights = np.array([weight for datatype, weight in COLUMNS.values() if datatype != "BYTES"])
    is_text = np.arange(200) % 2 == 0
    frame["bytes"] = np.where(is_text, "ä", "o")
    text = make_column_transformer(
        (OneHotEncoder(categories=[["ä"]], handle_unknown="ignore"), ["bytes"]), remainder="passthrough"
    )
    estimator = make_pipeline(text, LinearRegression(fit_intercept=False))
    estimator.fit(frame, numbers @ weights + TEXT_WEIGHT * is_text)
    example = {
        name: pa.array(["ä", "o"] if datatype == "BYTES" else np.array([0, 1], TYPES[datatype].to_pandas_dtype()))
        for name, (datatype, _) in COLUMNS.items()
    }
    return estimator, pa.table(example)


def _of_text() -> tuple[Any, pa.Table]:
    """Takes missing values, and answers text."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    rows = np.random.default_rng(0).normal(size=(300, 2))
    estimator = HistGradientBoostingClassifier(max_iter=20).fit(rows, np.where(rows[:, 0] > 0, "süß", "sauer"))
    return estimator, pa.table({"a": [0.1, -0.2], "b": [None, 1.0]})


@pytest.fixture(scope="module")
def endpoint(platform: Platform) -> Iterator[str]:
    """An endpoint with version 2 of every datatype as its champion and version 1 as its backup."""
    for estimator, example in (_of_text(), _of_every_datatype()):
        platform.models.register(MODEL, estimator, example=example)
    platform.endpoints.deploy(MODEL, 1)
    platform.endpoints.deploy(MODEL, 2)
    yield platform.url.removeprefix("http://")
    platform.endpoints.undeploy(MODEL)


@pytest.mark.parametrize("clients", ["http_clients.py", "grpc_clients.py"])
def test_clients_of_others_work_unmodified(
    conformance: Callable[..., Any], platform: Platform, endpoint: str, clients: str
) -> None:
    here = Path(__file__).parents[1] / "conformance"
    done = conformance(
        *("pytest", "-q", "--noconftest", f"--rootdir={here}", "-c", str(here / "pytest.ini"), str(here / clients)),
        *("-p", "no:cacheprovider"),
        PYTEST_DISABLE_PLUGIN_AUTOLOAD="1",
        PYTHONPATH=str(here),
        URL=endpoint,
        GRPC_URL=f"127.0.0.1:{platform.config.serving.grpc_port}",
        MODEL=MODEL,
        COLUMNS=json.dumps(COLUMNS),
        TEXT_WEIGHT=str(TEXT_WEIGHT),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped" not in done.stdout


@pytest.fixture
def channel(platform: Platform, endpoint: str) -> Iterator[Any]:
    with grpc.insecure_channel(f"127.0.0.1:{platform.config.serving.grpc_port}") as channel:
        yield channel


def call(channel: Any, method: str, message: Any) -> Any:
    parse = getattr(pb, f"{method}Response").FromString
    asked = channel.unary_unary(f"/inference.GRPCInferenceService/{method}", response_deserializer=parse)
    return asked(message if isinstance(message, bytes) else message.SerializeToString(), timeout=20)


def test_a_message_may_be_as_large_as_a_body(channel: Any, platform: Platform) -> None:
    rows = np.zeros((50_000, 2))
    message = pb.ModelInferRequest(model_name=MODEL, model_version="1", raw_input_contents=[rows.tobytes()])
    message.inputs.add(name="features", datatype="FP64", shape=rows.shape)
    message.outputs.add(name="probability")
    message.parameters["padding"].string_param = "x" * (6 << 20)
    answer = call(channel, "ModelInfer", message)
    assert len(np.frombuffer(answer.raw_output_contents[0])) == rows.size
    message.parameters["padding"].string_param = "x" * platform.config.serving.body_limit_bytes
    with pytest.raises(grpc.RpcError) as caught:
        call(channel, "ModelInfer", message)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_what_is_no_message_is_the_callers_error(channel: Any) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        call(channel, "ModelInfer", b"\xff")
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    with pytest.raises(grpc.RpcError) as caught:
        call(channel, "ModelInfer", pb.ModelInferRequest(model_name=MODEL))
    assert "at least one tensor" in (caught.value.details() or "")


DEADLINE_S = 20.0
"""For anybody's answer, whatever others do meanwhile."""

FEATURES = {"inputs": [{"name": "features", "datatype": "FP64", "shape": [2, 2], "data": [1.0, 2.0, -1.0, 0.5]}]}
PINNED = f"/v2/models/{MODEL}/versions/1/infer"


def http(body: bytes, length: int | None = None) -> bytes:
    """A request; ``length`` may lie about its body."""
    size = len(body) if length is None else length
    return f"POST {PINNED} HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n".encode() + body


async def read_reply(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    status, lines = int(head.split()[1]), head.lower().split(b"\r\n")
    length = next(int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length"))
    return status, await reader.readexactly(length)


async def ask(endpoint: str, times: int = 5) -> None:
    """Somebody who does nothing wrong is answered."""
    async with asyncio.timeout(DEADLINE_S), aiohttp.ClientSession() as session:
        for _ in range(times):
            async with session.post(f"http://{endpoint}{PINNED}", json=FEATURES) as response:
                assert response.status == 200, await response.text()


async def connect(endpoint: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, port = endpoint.split(":")
    return await asyncio.open_connection(host, int(port))


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("FOO /v2", 405),
        ("GET *", 400),
        (f"GET /v2/models/%{ord(MODEL[0]):x}{MODEL[1:]}/ready", 404),
        (f"GET /v2/models/{MODEL}%2Fready", 404),
        (f"GET http://x/v2/models/{MODEL}/ready", 200),
    ],
)
def test_odd_request_lines_are_told_what_is_wrong(platform: Platform, endpoint: str, line: str, status: int) -> None:
    """A model that is up is never said not to be up yet."""
    note = noted_cluster(platform.config.home)
    assert note is not None
    if note.foreign and status in (400, 405):
        pytest.skip("HAProxy of a cluster of somebody else is theirs")

    async def run() -> tuple[int, bytes]:
        reader, writer = await connect(endpoint)
        writer.write(f"{line} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        async with asyncio.timeout(DEADLINE_S):
            reply = await read_reply(reader)
        writer.close()
        return reply

    answered, said = asyncio.run(run())
    assert (answered, status == 200 or list(json.loads(said)) == ["error"]) == (status, True)


def test_slow_senders_keep_nobody_waiting(endpoint: str) -> None:
    body = json.dumps(FEATURES).encode()

    async def run() -> None:
        connections = [await connect(endpoint) for _ in range(50)]
        for _, writer in connections:
            writer.write(http(b"", len(body)))
        for part in range(0, len(body), 40):
            for _, writer in connections:
                writer.write(body[part : part + 40])
                await writer.drain()
            await ask(endpoint, 2)
        async with asyncio.timeout(DEADLINE_S):
            for reader, writer in connections:
                assert (await read_reply(reader))[0] == 200
                writer.close()

    asyncio.run(run())


def test_a_huge_body_is_refused_before_it_is_there(endpoint: str) -> None:
    async def run() -> int:
        reader, writer = await connect(endpoint)
        writer.write(http(b"", 10 << 30))
        reply = asyncio.create_task(read_reply(reader))
        sent = 0
        while not reply.done() and not reader.at_eof():
            try:
                writer.write(b" " * (1 << 20))
                await writer.drain()
            except ConnectionError:
                break
            sent += 1 << 20
        async with asyncio.timeout(DEADLINE_S):
            status, said = await reply
        assert (status, json.loads(said).keys()) == (413, {"error"})
        writer.close()
        await ask(endpoint)
        return sent

    assert asyncio.run(run()) < 5 << 30


@pytest.mark.parametrize("part", ["head", "half", "whole"])
def test_who_goes_away_takes_nobody_along(endpoint: str, part: str) -> None:
    """Before the end of the request, or, with the connection reset, while the answer is being sent."""
    rows = {"name": "features", "datatype": "FP64", "shape": [20_000, 2], "data": [0.5] * 40_000}
    whole = http(json.dumps({"inputs": [rows]}).encode())
    sent = {"head": whole[:30], "half": whole[: len(whole) // 2], "whole": whole}[part]

    async def run() -> None:
        for _ in range(20):
            _, writer = await connect(endpoint)
            writer.write(sent)
            await writer.drain()
            raw = writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        await ask(endpoint)

    asyncio.run(run())


def test_requests_in_a_row_are_answered_in_their_order(endpoint: str) -> None:
    async def run() -> None:
        reader, writer = await connect(endpoint)
        ids = [f"r{number}" for number in range(20)]
        writer.write(b"".join(http(json.dumps(FEATURES | {"id": each}).encode()) for each in ids))
        async with asyncio.timeout(DEADLINE_S):
            replies = [await read_reply(reader) for _ in ids]
        writer.close()
        assert [(status, json.loads(body)["id"]) for status, body in replies] == [(200, each) for each in ids]

    asyncio.run(run())


def test_a_thousand_malformed_bodies(endpoint: str) -> None:
    instance = {name: {"BOOL": True, "BYTES": "ä"}.get(datatype, 1) for name, (datatype, _) in COLUMNS.items()}
    good = {"/infer": FEATURES, "/predict": {"instances": [instance]}}
    paths = {"/infer": PINNED, "/predict": f"/v2/models/{MODEL}/predict"}
    requests = malformed_requests(good, 1000, seed=2)

    async def send(session: aiohttp.ClientSession) -> list[int]:
        statuses = []
        for request in requests:
            headers = {name: value for name, value in request.headers.items() if value.isascii()}
            url = f"http://{endpoint}{paths[request.action]}"
            async with session.post(url, data=request.body, headers=headers) as response:
                statuses.append(response.status)
                assert response.status in {200, 400}, (request, await response.text())
                if response.status == 400:
                    assert response.headers["content-type"] == "application/json"
                    assert (await response.json()).keys() == {"error"}
        return statuses

    async def run() -> list[int]:
        timeout = aiohttp.ClientTimeout(total=DEADLINE_S)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            each = await asyncio.gather(*(send(session) for _ in range(8)))
        await ask(endpoint)
        return [status for statuses in each for status in statuses]

    statuses = asyncio.run(run())
    assert len(statuses) == 1000
    assert statuses.count(400) > 700
