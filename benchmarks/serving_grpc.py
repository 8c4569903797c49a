"""gRPC beside HTTP: the same model, the same row, one replica, asked in turns by the same program (h2load)."""

from __future__ import annotations

import re
import shutil
import statistics
import struct
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import grpc

from benchmarks import served_model
from benchmarks.serving_peers import connected, deployed, free_port
from raymlops.serving.front import open_inference_pb2 as pb

__all__ = ["measure"]

CONNECTIONS = (1, 16)
_METHOD = "/inference.GRPCInferenceService/ModelInfer"
_RATE, _DONE = re.compile(r"([\d.]+) req/s"), re.compile(r"requests: (\d+) total.* (\d+) succeeded")
_GRPC = ("-H", "content-type: application/grpc", "-H", "te: trailers")
_HTTP = ("--h1", "-H", "content-type: application/json")


def measure(rounds: int = 5, seconds: int = 4) -> dict[str, Any]:
    """Requests per second of both, and their ratio, as medians over rounds.

    Raises:
        FileNotFoundError: h2load is not installed (Debian package ``nghttp2-client``).
    """
    if shutil.which("h2load") is None:
        raise FileNotFoundError("h2load is needed: apt-get install nghttp2-client")
    with tempfile.TemporaryDirectory() as folder, connected(Path(folder) / "home", grpc_port=free_port()) as ours:
        url = f"{deployed(ours)}/infer"
        address = f"127.0.0.1:{ours.config.serving.grpc_port}"
        message = _message()
        _answered(address, message)
        json_body, grpc_body = Path(folder) / "body.json", Path(folder) / "body.grpc"
        json_body.write_bytes(served_model.infer_body(1))
        grpc_body.write_bytes(struct.pack(">BI", 0, len(message)) + message)
        asked = {"http": (_HTTP, json_body, url), "grpc": (_GRPC, grpc_body, f"http://{address}{_METHOD}")}
        found: dict[str, Any] = {}
        for connections in CONNECTIONS:
            rates: dict[str, list[float]] = {name: [] for name in asked}
            for number in range(rounds + 1):
                for name, (options, body, where) in asked.items():
                    rate = _load(options, body, where, connections, seconds if number else 1)
                    if number:
                        rates[name].append(rate)
            medians = {name: statistics.median(some) for name, some in rates.items()}
            found[f"connections_{connections}"] = {
                **{f"{name}_per_s": round(rate) for name, rate in medians.items()},
                "grpc_to_http": round(medians["grpc"] / medians["http"], 2),
            }
    return found


def _message() -> bytes:
    row = served_model.matrix(1)
    message = pb.ModelInferRequest(model_name=served_model.MODEL, raw_input_contents=[row.tobytes()])
    message.inputs.add(name="features", datatype="FP64", shape=list(row.shape))
    body: bytes = message.SerializeToString()
    return body


def _answered(address: str, message: bytes) -> None:
    """A call is answered: h2load sees the status of HTTP alone, which is 200 for an error of gRPC, too."""
    with grpc.insecure_channel(address) as channel:
        answer = pb.ModelInferResponse.FromString(channel.unary_unary(_METHOD)(message, timeout=30))
    assert answer.outputs, answer


def _load(options: tuple[str, ...], body: Path, url: str, connections: int, seconds: int) -> float:
    limits = ["-t1", f"-c{connections}", "-m1", f"-D{seconds}"]
    command = ["h2load", *limits, *options, "-d", str(body), url]
    said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=seconds + 60).stdout
    rate, done = _RATE.search(said), _DONE.search(said)
    assert rate is not None, said
    assert done is not None, said
    assert done[1] == done[2], said
    return float(rate[1])
