"""Triton's and KServe's clients over gRPC, unmodified, against a running platform. Runs in their own environment."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from http_clients import COLUMNS, MODEL, VALUES, expected, row
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

URL = os.environ["GRPC_URL"]
FIELDS = {
    "BOOL": "bool_contents",
    **{f"{sign}INT{bits}": f"{sign.lower()}int_contents" for sign in ("", "U") for bits in (8, 16, 32)},
    **{f"{sign}INT64": f"{sign.lower()}int64_contents" for sign in ("", "U")},
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
}


def tensors(columns: dict[str, np.ndarray], module: Any = triton) -> list[Any]:
    made = []
    for name, values in columns.items():
        made.append(module.InferInput(name, list(values.shape), COLUMNS[name][0]))
        made[-1].set_data_from_numpy(values)
    return made


@pytest.fixture(scope="module")
def client() -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(URL) as made:
        yield made


def test_health_and_metadata(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.get_server_metadata().name == "raymlops"
    for version in ("", "1", "2"):
        assert client.is_model_ready(MODEL, version)
        assert list(client.get_model_metadata(MODEL, version).versions) == ["2", "1"]
    inputs = client.get_model_metadata(MODEL).inputs
    assert {tensor.name: tensor.datatype for tensor in inputs} == {n: d for n, (d, _) in COLUMNS.items()}


@pytest.mark.parametrize("name", [name for name, (datatype, _) in COLUMNS.items() if datatype != "BYTES"])
def test_every_datatype_arrives_raw(client: triton.InferenceServerClient, name: str) -> None:
    values = VALUES[COLUMNS[name][0]]
    result = client.infer(MODEL, tensors(row(name, values)), request_id="mine")
    assert result.as_numpy("value") == expected(name, values)
    response = result.get_response()
    assert (response.id, response.model_name, response.model_version) == ("mine", MODEL, "2")
    assert response.parameters["role"].string_param == "champion"


def typed(columns: dict[str, np.ndarray]) -> service_pb2.ModelInferRequest:
    """Typed contents but for half precision, which has none: it is sent as a single."""
    request = service_pb2.ModelInferRequest(model_name=MODEL)
    for name, values in columns.items():
        datatype = COLUMNS[name][0].replace("FP16", "FP32")
        tensor = request.inputs.add(name=name, datatype=datatype, shape=values.shape)
        if datatype == "BYTES":
            tensor.contents.bytes_contents.extend(text.encode() for text in values)
        else:
            getattr(tensor.contents, FIELDS[datatype]).extend(values.tolist())
    return request


@pytest.mark.parametrize("name", [name for name, (datatype, _) in COLUMNS.items() if datatype != "BYTES"])
def test_every_datatype_arrives_typed(name: str) -> None:
    values = VALUES[COLUMNS[name][0]]
    with grpc.insecure_channel(URL) as channel:
        answer = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(typed(row(name, values)), timeout=20)
    assert not answer.raw_output_contents
    assert np.array(answer.outputs[0].contents.fp64_contents) == expected(name, values)


def features(values: list[list[float]]) -> list[triton.InferInput]:
    array = np.array(values, dtype=np.float64)
    tensor = triton.InferInput("features", list(array.shape), "FP64")
    tensor.set_data_from_numpy(array)
    return [tensor]


def test_missing_values_go_in_and_text_comes_out(client: triton.InferenceServerClient) -> None:
    result = client.infer(MODEL, features([[1.0, np.nan], [-1.0, 0.0]]), "1")
    assert [text.decode() for text in result.as_numpy("label")] == ["süß", "sauer"]
    assert result.as_numpy("probability").sum(axis=1) == pytest.approx([1.0, 1.0])
    only = client.infer(MODEL, features([[1.0, 0.0]]), "1", outputs=[triton.InferRequestedOutput("probability")])
    assert [output.name for output in only.get_response().outputs] == ["probability"]


def test_errors_have_their_status(client: triton.InferenceServerClient) -> None:
    asked = [
        ("NOT_FOUND", lambda: client.get_model_metadata("nobody")),
        ("NOT_FOUND", lambda: client.infer("nobody", features([[1.0, 0.0]]))),
        ("NOT_FOUND", lambda: client.infer(MODEL, features([[1.0, 0.0]]), "9")),
        ("INVALID_ARGUMENT", lambda: client.infer(MODEL, features([[1.0, 0.0]]))),
        ("INVALID_ARGUMENT", lambda: client.infer(MODEL, features([[np.inf, 0.0]]), "1")),
    ]
    for code, ask in asked:
        with pytest.raises(InferenceServerException) as caught:
            ask()
        assert caught.value.status() == f"StatusCode.{code}"
        assert caught.value.message()


def test_tritons_asynchronous_client() -> None:
    async def ask() -> None:
        async with triton_aio.InferenceServerClient(URL) as client:
            assert await client.is_model_ready(MODEL)
            result = await client.infer(MODEL, tensors(row(), triton_aio))
            assert result.as_numpy("value") == expected("", None)

    asyncio.run(ask())
