from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raymlops.errors import StorageError, UnavailableError
from raymlops.records.serving.keys import ApiKey
from raymlops.serving.front import grpc_service
from raymlops.serving.front import open_inference_pb2 as pb
from raymlops.serving.front.gateway import Gateway
from raymlops.serving.front.grpc_service import SERVICE, InferenceService
from raymlops.serving.protocol.access import Access
from raymlops.serving.protocol.http import HttpReply, HttpRequest, error_reply

pytestmark = pytest.mark.asyncio

ROW = [500.0, 8.0, 5.0, 0.0]


class FakePlans:
    def __init__(self) -> None:
        self.error: Exception | None = None

    async def served_plans(self) -> Mapping[str, object]:
        if self.error is not None:
            raise self.error
        return {"delay": 1, "late": 1}


class Endpoints:
    """Reaches the one endpoint there is, or answers as told."""

    def __init__(self, endpoint: Any) -> None:
        self.endpoint = endpoint
        self.answer: HttpReply | BaseException | None = None
        self.asked: list[HttpRequest] = []

    async def ask(self, model: str, request: HttpRequest) -> HttpReply | None:
        self.asked.append(request)
        if isinstance(self.answer, BaseException):
            raise self.answer
        if self.answer is not None:
            return self.answer
        return await self.endpoint.handle(request) if model == self.endpoint.model else None


class Client:
    def __init__(self, endpoint: Any) -> None:
        self.endpoints = Endpoints(endpoint)
        self.plans = FakePlans()
        self.service = InferenceService(Gateway("1.2.3", self.plans), self.endpoints)

    async def call(self, method: str, message: Any = None, **metadata: str) -> Any:
        """The response message, or status and words."""
        if message is None:
            message = getattr(pb, f"{method}Request")()
        body = message if isinstance(message, bytes) else message.SerializeToString()
        named = {name.replace("_", "-"): value for name, value in metadata.items()}
        reply = await self.service.call(method, body, named)
        if reply.status != "OK":
            assert reply.body == b""
            return reply.status, reply.message
        return getattr(pb, f"{method}Response").FromString(reply.body)


@pytest.fixture
def client(service: Any) -> Client:
    return Client(service.endpoint)


def infer(**changes: Any) -> pb.ModelInferRequest:
    """One tensor of all columns, raw or typed."""
    typed = changes.pop("typed", False)
    message = pb.ModelInferRequest(model_name="delay", **changes)
    tensor = message.inputs.add(name="features", datatype="FP64", shape=[1, 4])
    if typed:
        tensor.contents.fp64_contents.extend(ROW)
    else:
        message.raw_input_contents.append(np.array(ROW).tobytes())
    return message


async def test_the_server(client: Client) -> None:
    assert (await client.call("ServerLive")).live
    assert (await client.call("ServerReady")).ready
    metadata = await client.call("ServerMetadata")
    assert (metadata.name, metadata.version) == ("raymlops", "1.2.3")
    client.plans.error = UnavailableError("the metadata actor died")
    assert not (await client.call("ServerReady")).ready
    assert (await client.call("ServerLive")).live


@pytest.mark.parametrize("version", ["", "1"])
async def test_a_model(client: Client, version: str, helpers: Any) -> None:
    assert (await client.call("ModelReady", pb.ModelReadyRequest(name="delay", version=version))).ready
    metadata = await client.call("ModelMetadata", pb.ModelMetadataRequest(name="delay", version=version))
    assert (metadata.name, list(metadata.versions), metadata.platform) == ("delay", ["1"], "raymlops")
    assert [tensor.name for tensor in metadata.inputs] == list(helpers.INPUTS)
    assert [(tensor.name, list(tensor.shape)) for tensor in metadata.outputs] == [
        ("label", [-1]),
        ("probability", [-1, 2]),
    ]


async def test_a_model_that_loads_is_not_ready(make_service: Any) -> None:
    client = Client(make_service().endpoint)
    assert not (await client.call("ModelReady", pb.ModelReadyRequest(name="delay"))).ready
    assert not (await client.call("ModelReady", pb.ModelReadyRequest(name="late"))).ready
    assert (await client.call("ModelInfer", infer()))[0] == "UNAVAILABLE"


@pytest.mark.parametrize("typed", [True, False])
async def test_an_answer_is_the_endpoints_in_the_form_of_the_request(
    client: Client, service: Any, helpers: Any, typed: bool
) -> None:
    import orjson

    answer = await client.call("ModelInfer", infer(id="r1", model_version="1", typed=typed))
    assert (answer.model_name, answer.model_version, answer.id) == ("delay", "1", "r1")
    assert answer.parameters["role"].string_param == "champion"
    assert [(output.name, output.datatype, list(output.shape)) for output in answer.outputs] == [
        ("label", "INT64", [1]),
        ("probability", "FP64", [1, 2]),
    ]
    if typed:
        assert not answer.raw_output_contents
        got = [list(answer.outputs[0].contents.int64_contents), list(answer.outputs[1].contents.fp64_contents)]
    else:
        label, probability = answer.raw_output_contents
        got = [np.frombuffer(label, np.int64).tolist(), np.frombuffer(probability).tolist()]
    outputs = orjson.loads((await service.post("/infer", helpers.matrix_body([ROW]))).body)["outputs"]
    assert got == [output["data"] for output in outputs]


async def test_outputs_and_parameters_are_passed_on(client: Client) -> None:
    message = infer()
    message.outputs.add(name="probability").parameters["binary_data"].bool_param = False
    message.parameters["binary_data_output"].bool_param = False
    message.parameters["nothing"].SetInParent()
    message.parameters["half"].double_param = 0.5
    answer = await client.call("ModelInfer", message)
    assert [output.name for output in answer.outputs] == ["probability"]
    assert len(answer.raw_output_contents) == 1
    assert b'"half":0.5' in client.endpoints.asked[-1].body
    message.outputs.add(name="nope")
    assert (await client.call("ModelInfer", message))[0] == "INVALID_ARGUMENT"


TYPED = {
    "BOOL": ("bool_contents", [1, 0]),
    "UINT8": ("uint_contents", [0, 255]),
    "UINT16": ("uint_contents", [0, 65535]),
    "UINT32": ("uint_contents", [0, 2**32 - 1]),
    "UINT64": ("uint64_contents", [0, 2**53]),
    "INT8": ("int_contents", [-128, 127]),
    "INT16": ("int_contents", [-(2**15), 2**15 - 1]),
    "INT32": ("int_contents", [-(2**31), 2**31 - 1]),
    "INT64": ("int64_contents", [-(2**53), 2**53]),
    "FP32": ("fp32_contents", [0.5, float("-inf")]),
    "FP64": ("fp64_contents", [0.1, 5e-324]),
    "BYTES": ("bytes_contents", ["ä".encode(), b""]),
}


@pytest.mark.parametrize("datatype", TYPED)
async def test_each_datatype_typed_is_what_it_is_raw(datatype: str) -> None:
    from raymlops.serving.front.grpc_messages import infer_body
    from raymlops.serving.protocol.open_inference import BINARY_HEADER
    from raymlops.serving.protocol.tensors import decode_binary

    field, values = TYPED[datatype]
    message = pb.ModelInferRequest()
    message.inputs.add(name="x", datatype=datatype, shape=[2], contents=pb.InferTensorContents(**{field: values}))
    body, headers = infer_body(message)
    decoded = decode_binary("x", datatype, [2], memoryview(body)[int(headers[BINARY_HEADER]) :]).tolist()
    assert [value.encode() for value in decoded] == values if datatype == "BYTES" else decoded == values


def _both() -> pb.ModelInferRequest:
    message = infer(typed=True)
    message.raw_input_contents.append(b"")
    return message


def _tensor(datatype: str, **contents: Any) -> pb.ModelInferRequest:
    message = pb.ModelInferRequest(model_name="delay")
    message.inputs.add(name="x", datatype=datatype, shape=[1], contents=pb.InferTensorContents(**contents))
    return message


def _count() -> pb.ModelInferRequest:
    message = infer()
    message.raw_input_contents.append(b"")
    return message


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (b"\xff\xff", "no ModelInferRequest"),
        (b"\x0a\x01\xff", "no ModelInferRequest"),
        (_both(), "got both"),
        (_count(), "must hold 1 inputs, got 2"),
        (_tensor("FP16", fp32_contents=[1]), "contents may be"),
        (_tensor("COMPLEX", fp32_contents=[1]), "contents may be"),
        (_tensor("FP32", fp64_contents=[1]), "must be in fp32_contents"),
        (_tensor("FP64", fp64_contents=[1], int_contents=[1]), "must be in fp64_contents"),
        (_tensor("INT8", int_contents=[128]), "range of INT8"),
        (_tensor("FP64", fp64_contents=[1, 2]), "needs 8 bytes, got 16"),
        (_tensor("FP64"), "needs 8 bytes, got 0"),
        (_tensor("FP64", fp64_contents=[1]), "'x' is unknown"),
        (pb.ModelInferRequest(model_name="delay"), "at least one tensor"),
        (pb.ModelInferRequest(), "must not be empty"),
        (infer(id="x" * 300), "'id' must be"),
    ],
)
async def test_what_is_wrong_is_said(client: Client, message: Any, words: str) -> None:
    status, said = await client.call("ModelInfer", message)
    assert (status, words in said) == ("INVALID_ARGUMENT", True), said


@pytest.mark.timeout(60)
async def test_no_mutated_message_is_our_fault(client: Client) -> None:
    """Bytes changed, cut off, put in: the caller's error, or by chance a good message."""
    rng = random.Random(3)
    good = [infer(id="r", typed=typed).SerializeToString() for typed in (True, False)]
    statuses: Counter[str] = Counter()
    for _ in range(3000):
        body = bytearray(rng.choice(good))
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(len(body))
            body[at : at + rng.randrange(3)] = rng.randbytes(rng.randrange(4))
        reply = await client.service.call("ModelInfer", bytes(body), {})
        statuses[reply.status] += 1
    assert statuses.keys() <= {"OK", "INVALID_ARGUMENT", "NOT_FOUND"}
    assert statuses["INVALID_ARGUMENT"] > 1000


@pytest.mark.parametrize(
    ("name", "version"),
    [("nobody", ""), ("delay", "9"), ("delay", "x"), ("delay/plan", ""), ("delay", "1/ready"), ("../delay", "")],
)
async def test_what_is_not_there_is_not_found(client: Client, name: str, version: str) -> None:
    for method in ("ModelReady", "ModelMetadata"):
        asked = getattr(pb, f"{method}Request")(name=name, version=version)
        assert (await client.call(method, asked))[0] == "NOT_FOUND"
    message = infer(model_version=version)
    message.model_name = name
    assert (await client.call("ModelInfer", message))[0] == "NOT_FOUND"


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (error_reply(413, "too large"), "RESOURCE_EXHAUSTED"),
        (error_reply(429, "too many"), "RESOURCE_EXHAUSTED"),
        (error_reply(503, "nobody"), "UNAVAILABLE"),
        (error_reply(504, "late"), "DEADLINE_EXCEEDED"),
        (error_reply(409, "no"), "FAILED_PRECONDITION"),
        (error_reply(500, "internal error"), "INTERNAL"),
        (error_reply(405, "no"), "INTERNAL"),
        (UnavailableError("gone"), "UNAVAILABLE"),
        (StorageError("full"), "UNAVAILABLE"),
        (TimeoutError(), "DEADLINE_EXCEEDED"),
    ],
)
async def test_each_error_has_its_status(client: Client, answer: Any, status: str) -> None:
    client.endpoints.answer = answer
    got, message = await client.call("ModelInfer", infer())
    assert (got, bool(message)) == (status, True)


async def test_a_bug_is_internal_and_says_nothing(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    client.endpoints.answer = ZeroDivisionError("secret")
    assert await client.call("ModelInfer", infer()) == ("INTERNAL", "internal error")
    assert "secret" in caplog.text


async def test_keys_hold_as_they_do_over_http(client: Client, service: Any, helpers: Any) -> None:
    from raymlops.records.serving.keys import new_key

    key, text = new_key("caller", ("infer",), helpers.NOW)
    stranger, other = new_key("reporter", ("label",), helpers.NOW)
    assert isinstance(key, ApiKey)
    service.endpoint.admit(Access([key, stranger]))
    for metadata, status in (({}, "UNAUTHENTICATED"), ({"authorization": f"Bearer {other}"}, "PERMISSION_DENIED")):
        for method, message in (("ModelInfer", infer()), ("ModelReady", pb.ModelReadyRequest(name="delay"))):
            assert (await client.call(method, message, **metadata))[0] == status
    assert (await client.call("ModelInfer", infer(), authorization=f"Bearer {text}")).model_version == "1"


async def test_the_metadata_that_count_are_passed_on(client: Client) -> None:
    await client.call("ModelInfer", infer(), x_sticky_key="me", inference_header_content_length="7", host="x")
    headers = client.endpoints.asked[-1].headers
    assert headers.keys() == {"x-sticky-key", "inference-header-content-length"}
    assert headers["inference-header-content-length"] != "7"


async def test_the_description_is_what_is_served(client: Client) -> None:
    assert pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name == SERVICE
    methods = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods_by_name
    assert set(client.service.methods) == set(methods)


async def test_the_messages_are_those_of_the_description() -> None:
    """Whoever changes the one must generate the other."""
    text = Path(grpc_service.__file__).with_name("open_inference.proto").read_text(encoding="utf-8")
    described = set(re.findall(r"^ *(?:repeated |map<string, )?[\w>]+ (\w+) = (\d+);", text, re.MULTILINE))
    generated = {
        (field.name, str(field.number))
        for message in _messages(pb.DESCRIPTOR.message_types_by_name.values())
        for field in message.fields
        if not message.GetOptions().map_entry
    }
    assert described == generated


def _messages(found: Any) -> Any:
    for message in found:
        yield message
        yield from _messages(message.nested_types)
