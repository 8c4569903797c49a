"""Triton's and KServe's clients over HTTP, unmodified, against a running platform. Runs in their own environment."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Iterator
from importlib.machinery import PathFinder
from itertools import cycle
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from tritonclient.utils import InferenceServerException

URL, MODEL = os.environ["URL"], os.environ["MODEL"]
COLUMNS: dict[str, tuple[str, float]] = json.loads(os.environ["COLUMNS"])
"""Input of version 2 -> its datatype and its weight in the sum that the version answers."""

TEXT_WEIGHT = float(os.environ["TEXT_WEIGHT"])
VALUES = {
    "BOOL": [True, False],
    **{f"{sign}INT{bits}": [0, 2 ** (bits - 1) - 1] for sign in ("", "U") for bits in (8, 16, 32)},
    **{f"{sign}INT64": [3, 2**53] for sign in ("", "U")},
    "FP16": [0.5, -65504.0],
    "FP32": [0.25, -3.0e38],
    "FP64": [0.1, 1e-300],
}
NUMPY = {
    "BOOL": np.bool_,
    **{f"{sign}INT{bits}": f"{sign.lower()}int{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)},
    **{f"FP{bits}": f"float{bits}" for bits in (16, 32, 64)},
}


def _kserve() -> ModuleType:
    """The module of KServe's client: the package itself imports a server and a Kubernetes client, too."""
    found = PathFinder.find_spec("kserve")
    assert found is not None
    package = ModuleType("kserve")
    package.__path__ = list(found.submodule_search_locations or ())
    sys.modules["kserve"] = package
    import kserve.inference_client as module

    return module


def row(name: str = "", values: Any = (0, 0)) -> dict[str, np.ndarray]:
    """Two rows of zeros, but for one column."""
    columns = {}
    for column, (datatype, _) in COLUMNS.items():
        if datatype == "BYTES":
            columns[column] = np.array(["ä", ""], dtype=object)
        else:
            columns[column] = np.zeros(2, dtype=NUMPY[datatype])
    if name:
        columns[name] = np.array(values, dtype=columns[name].dtype)
    return columns


def sendable(name: str, values: np.ndarray, binary: bool) -> tuple[str, np.ndarray]:
    """Datatype and values: of half precision, clients can send no JSON."""
    if not binary and values.dtype == np.float16:
        return "FP32", values.astype(np.float32)
    return COLUMNS[name][0], values


def tensors(columns: dict[str, np.ndarray], *binary: bool, module: Any = triton) -> list[Any]:
    """Inputs as bytes or as JSON, in turn where both are named."""
    made = []
    for (name, given), as_bytes in zip(columns.items(), cycle(binary), strict=False):
        datatype, values = sendable(name, given, as_bytes)
        made.append(module.InferInput(name, list(values.shape), datatype))
        made[-1].set_data_from_numpy(values, binary_data=as_bytes)
    return made


def expected(name: str, values: Any) -> Any:
    weight = COLUMNS[name][1] if name else 0.0
    numbers = np.array(values, dtype=NUMPY[COLUMNS[name][0]]).astype(float) if name else np.zeros(2)
    return pytest.approx(weight * numbers + [TEXT_WEIGHT, 0.0], rel=1e-6, abs=1e-6)


@pytest.fixture(scope="module")
def client() -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(URL) as made:
        yield made


def test_health_and_metadata(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.get_server_metadata()["extensions"] == ["binary_tensor_data"]
    for version in ("", "1", "2"):
        assert client.is_model_ready(MODEL, version)
        assert client.get_model_metadata(MODEL, version)["versions"] == ["2", "1"]
    inputs = client.get_model_metadata(MODEL)["inputs"]
    assert {tensor["name"]: tensor["datatype"] for tensor in inputs} == {n: d for n, (d, _) in COLUMNS.items()}


def test_what_is_not_there(client: triton.InferenceServerClient) -> None:
    assert not client.is_model_ready("nobody")
    assert not client.is_model_ready(MODEL, "9")
    for model, version in (("nobody", ""), (MODEL, "9")):
        for ask in (client.get_model_metadata, lambda *name: client.infer(name[0], tensors(row(), True), name[1])):
            with pytest.raises(InferenceServerException) as caught:
                ask(model, version)
            assert caught.value.status() == "404"
            assert "decoding" not in caught.value.message()


@pytest.mark.parametrize("answer", [True, False])
@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("name", [name for name, (datatype, _) in COLUMNS.items() if datatype != "BYTES"])
def test_every_datatype_arrives(client: triton.InferenceServerClient, name: str, binary: bool, answer: bool) -> None:
    values = VALUES[COLUMNS[name][0]]
    wanted = [triton.InferRequestedOutput("value", binary_data=answer)]
    result = client.infer(MODEL, tensors(row(name, values), binary), outputs=wanted)
    assert result.as_numpy("value") == expected(name, values)


@pytest.mark.parametrize("turn", [(True, False), (False, True)])
def test_bytes_and_json_mix(client: triton.InferenceServerClient, turn: tuple[bool, bool]) -> None:
    assert client.infer(MODEL, tensors(row("int8", [1, 2]), *turn)).as_numpy("value") == expected("int8", [1, 2])


def test_the_id_is_echoed_and_the_version_named(client: triton.InferenceServerClient) -> None:
    inputs = tensors(row(), True)
    response = client.infer(MODEL, inputs, request_id="mine", parameters={"a": 1}).get_response()
    assert (response["id"], response["model_name"], response["model_version"]) == ("mine", MODEL, "2")
    assert response["parameters"] == {"role": "champion"}


def features(values: list[list[float]], binary: bool) -> list[triton.InferInput]:
    """Version 1 takes numbers, and answers text and probabilities."""
    array = np.array(values, dtype=np.float64)
    tensor = triton.InferInput("features", list(array.shape), "FP64")
    tensor.set_data_from_numpy(array, binary_data=binary)
    return [tensor]


@pytest.mark.parametrize("binary", [True, False])
def test_missing_values_go_in_and_text_comes_out(client: triton.InferenceServerClient, binary: bool) -> None:
    wanted = [triton.InferRequestedOutput(name, binary_data=binary) for name in ("label", "probability")]
    result = client.infer(MODEL, features([[1.0, np.nan], [-1.0, 0.0]], binary), "1", outputs=wanted)
    labels = [text.decode() if isinstance(text, bytes) else text for text in result.as_numpy("label")]
    assert labels == ["süß", "sauer"]
    assert result.as_numpy("probability").sum(axis=1) == pytest.approx([1.0, 1.0])


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinities_are_refused(client: triton.InferenceServerClient, binary: bool, value: float) -> None:
    with pytest.raises(InferenceServerException, match="must be finite") as caught:
        client.infer(MODEL, features([[value, 0.0]], binary), "1")
    assert caught.value.status() == "400"


def test_outputs_are_filtered(client: triton.InferenceServerClient) -> None:
    inputs = features([[1.0, 2.0]], True)
    result = client.infer(MODEL, inputs, "1", outputs=[triton.InferRequestedOutput("probability")])
    assert [output["name"] for output in result.get_response()["outputs"]] == ["probability"]
    assert result.as_numpy("label") is None
    with pytest.raises(InferenceServerException, match="output 'nope' is unknown"):
        client.infer(MODEL, inputs, "1", outputs=[triton.InferRequestedOutput("nope")])
    both = client.infer(MODEL, inputs, "1").as_numpy("probability")
    assert both == pytest.approx(result.as_numpy("probability"))


def test_what_is_wrong_is_said(client: triton.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match="are missing") as caught:
        client.infer(MODEL, tensors(row(), True)[:-1])
    assert caught.value.status() == "400"


def test_tritons_asynchronous_client() -> None:
    async def ask() -> None:
        async with triton_aio.InferenceServerClient(URL) as client:
            assert await client.is_model_ready(MODEL)
            for binary in (True, False):
                result = await client.infer(MODEL, tensors(row(), binary, module=triton_aio))
                assert result.as_numpy("value") == expected("", None)
            with pytest.raises(InferenceServerException, match="'nobody' is not deployed"):
                await client.infer("nobody", tensors(row(), True, module=triton_aio))

    asyncio.run(ask())


def test_kserves_client() -> None:
    kserve = _kserve()
    import httpx
    from kserve.protocol.infer_type import InferInput, InferRequest

    def request(binary: bool) -> Any:
        inputs = []
        for name, given in row().items():
            datatype, values = sendable(name, given, binary)
            inputs.append(InferInput(name, list(values.shape), datatype))
            inputs[-1].set_data_from_numpy(values, binary_data=binary)
        return InferRequest(MODEL, inputs, request_id="mine")

    async def ask() -> None:
        client = kserve.InferenceRESTClient(kserve.RESTConfig(protocol="v2", retries=1))
        base = f"http://{URL}"
        assert await client.is_server_live(base)
        assert await client.is_server_ready(base)
        assert await client.is_model_ready(base, MODEL)
        assert not await client.is_model_ready(base, "nobody")
        for binary in (True, False):
            answer = await client.infer(base, request(binary), model_name=MODEL)
            assert (answer.id, answer.model_name) == ("mine", MODEL)
            assert answer.outputs[0].as_numpy() == expected("", None)
        with pytest.raises(httpx.HTTPStatusError, match="'inputs' must be a list"):
            await client.infer(base, {"inputs": []}, model_name=MODEL)
        await client.close()

    asyncio.run(ask())
