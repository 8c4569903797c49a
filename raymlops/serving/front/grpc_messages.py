"""Conversion between the gRPC messages and the HTTP bodies of the Open Inference Protocol.

Raw tensors are the same bytes in both, so that an infer message becomes a request of the binary tensor extension and
its answer becomes a message again: what is right or wrong with them is known to the endpoint alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson

from raymlops.errors import DataError
from raymlops.records.learning.datatypes import TEXT
from raymlops.serving.front.open_inference_pb2 import (
    InferParameter,
    InferTensorContents,
    ModelInferRequest,
    ModelInferResponse,
    ModelMetadataResponse,
)
from raymlops.serving.protocol.datatypes import NUMBERS
from raymlops.serving.protocol.http import HttpReply
from raymlops.serving.protocol.open_inference import BINARY_HEADER
from raymlops.serving.protocol.tensors import decode_binary

__all__ = ["infer_body", "infer_message", "metadata_message"]

_FIELDS = {
    "BOOL": "bool_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    TEXT: "bytes_contents",
}
"""Datatype -> field of ``InferTensorContents``; FP16 has none."""


def infer_body(message: ModelInferRequest) -> tuple[bytes, dict[str, str]]:
    """The body of ``message`` in the binary tensor extension, and the headers it needs.

    Raises:
        DataError: Contents do not fit their datatype, or tensors are sent both raw and typed.
    """
    raw = _raw_inputs(message)
    inputs = [
        {
            "name": tensor.name,
            "datatype": tensor.datatype,
            "shape": list(tensor.shape),
            "parameters": {"binary_data_size": len(content)},
        }
        for tensor, content in zip(message.inputs, raw, strict=True)
    ]
    head: dict[str, Any] = {
        "id": message.id,
        "parameters": {**_parameters(message.parameters), "binary_data_output": True},
        "inputs": inputs,
        "outputs": [
            {"name": output.name, "parameters": {**_parameters(output.parameters), "binary_data": True}}
            for output in message.outputs
        ],
    }
    text = orjson.dumps(head)
    return b"".join((text, *raw)), {BINARY_HEADER: str(len(text))}


def infer_message(reply: HttpReply, *, raw: bool) -> ModelInferResponse:
    """The answer to an infer request as a message.

    Args:
        reply: A 200 in the binary tensor extension.
        raw: Whether outputs are sent as raw bytes, else typed.
    """
    length = int(reply.headers.get(BINARY_HEADER, len(reply.body)))
    head = orjson.loads(reply.body[:length])
    message = ModelInferResponse(model_name=head["model_name"], model_version=head["model_version"], id=head["id"])
    for name, value in head["parameters"].items():
        message.parameters[name].CopyFrom(_parameter(value))
    offset = length
    for output in head["outputs"]:
        end = offset + output["parameters"]["binary_data_size"]
        content, offset = reply.body[offset:end], end
        tensor = message.outputs.add(name=output["name"], datatype=output["datatype"], shape=output["shape"])
        if raw:
            message.raw_output_contents.append(content)
        else:
            tensor.contents.CopyFrom(_typed(output, content))
    return message


def metadata_message(document: Mapping[str, Any]) -> ModelMetadataResponse:
    """A model's metadata as a message."""
    return ModelMetadataResponse(**document)


def _raw_inputs(message: ModelInferRequest) -> list[bytes]:
    """The bytes of each input, as they are or as they would have been sent raw."""
    if not message.raw_input_contents:
        return [_packed(tensor) for tensor in message.inputs]
    if any(tensor.HasField("contents") for tensor in message.inputs):
        raise DataError("inputs must be sent either in raw_input_contents or in contents, got both")
    if len(message.raw_input_contents) != len(message.inputs):
        count = len(message.inputs)
        raise DataError(f"raw_input_contents must hold {count} inputs, got {len(message.raw_input_contents)}")
    return list(message.raw_input_contents)


def _packed(tensor: ModelInferRequest.InferInputTensor) -> bytes:
    field = _FIELDS.get(tensor.datatype)
    if field is None:
        known = ", ".join(_FIELDS)
        raise DataError(f"tensor {tensor.name!r}: contents may be {known}, got {tensor.datatype!r}", tensor=tensor.name)
    sent = [descriptor.name for descriptor, _ in tensor.contents.ListFields()]
    if sent not in ([], [field]):
        raise DataError(f"tensor {tensor.name!r}: {tensor.datatype} must be in {field}, got {sent}", tensor=tensor.name)
    values = getattr(tensor.contents, field)
    if tensor.datatype == TEXT:
        return b"".join(part for value in values for part in (len(value).to_bytes(4, "little"), value))
    try:
        return np.array(list(values), dtype=NUMBERS[tensor.datatype]).tobytes()
    except OverflowError as error:
        message = f"tensor {tensor.name!r}: contents must lie in the range of {tensor.datatype}"
        raise DataError(message, tensor=tensor.name) from error


def _typed(output: Mapping[str, Any], content: bytes) -> InferTensorContents:
    values = decode_binary(output["name"], output["datatype"], output["shape"], memoryview(content)).tolist()
    if output["datatype"] == TEXT:
        values = [value.encode() for value in values]
    return InferTensorContents(**{_FIELDS[output["datatype"]]: values})


def _parameters(sent: Mapping[str, InferParameter]) -> dict[str, Any]:
    """Those that hold a value."""
    chosen = {name: value.WhichOneof("parameter_choice") for name, value in sent.items()}
    return {name: getattr(sent[name], choice) for name, choice in chosen.items() if choice is not None}


def _parameter(value: object) -> InferParameter:
    if isinstance(value, bool):
        return InferParameter(bool_param=value)
    if isinstance(value, int):
        return InferParameter(int64_param=value)
    if isinstance(value, float):
        return InferParameter(double_param=value)
    return InferParameter(string_param=str(value))
