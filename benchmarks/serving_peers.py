"""Servers of the model: ours on a platform of its own, and each peer in an environment of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
import psutil
import requests

from benchmarks import served_model
from benchmarks.load import Call
from benchmarks.peer_processes import PEERS, interpreter

__all__ = ["connected", "deployed", "free_port", "peer", "platform"]

if TYPE_CHECKING:
    from raymlops import Platform

_START_S = 90.0
_ROW = served_model.matrix(1).tolist()
_BODIES = {
    "fastapi": ("/infer", served_model.infer_body(1)),
    "mlserver": ("/v2/models/bench/infer", served_model.infer_body(1)),
    "mlflow": ("/invocations", orjson.dumps({"inputs": _ROW})),
    "litserve": ("/predict", orjson.dumps({"inputs": _ROW})),
    "bentoml": ("/infer", orjson.dumps({"inputs": _ROW})),
}


@contextmanager
def peer(name: str, folder: Path, asked: tuple[str, bytes] | None = None) -> Iterator[Call]:
    """A peer that answers, from its start to its end.

    Args:
        name: ``fastapi``, ``mlserver``, ``mlflow``, ``litserve``, ``bentoml`` or ``fastapi_frame``.
        folder: Holds the model's file; the peer may write there.
        asked: Path and body of its request, where it is not the usual row.
    """
    python = interpreter(f"serve_{name}.txt")
    path, body = asked or _BODIES[name]
    port = free_port()
    command = [str(python), str(PEERS / f"serve_{name}.py"), str(folder), str(port)]
    if name == "bentoml":
        serve = [str(python.with_name("bentoml")), "serve", "serve_bentoml:Bench", "--host", "127.0.0.1"]
        command = [*serve, "--port", str(port), "--working-dir", str(PEERS)]
    own = {"OMP_NUM_THREADS": "1", "BENCH_MODEL": str(folder / "model.ubj"), "BENTOML_HOME": str(folder / "bentoml")}
    quiet = {"BENTOML_DO_NOT_TRACK": "True", "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            command, env={**os.environ, **own, **quiet}, stdout=log, stderr=log, cwd=folder, start_new_session=True
        )
    try:
        call = Call(f"http://127.0.0.1:{port}{path}", body)
        _await_answer(call, process, folder / f"{name}.log")
        yield call
    finally:
        _stop(process)


@contextmanager
def connected(home: Path, **serving: object) -> Iterator[Platform]:
    """A platform of its own, with ports that were free a moment ago, and more settings of ``serving``."""
    import raymlops as rml
    from raymlops.config.reading.loader import load_config

    overrides = {
        "home": str(home),
        "serving": {"port": free_port(), **serving},
        "monitoring": {"metrics": {"port": free_port()}},
    }
    with rml.connect(config=load_config(environ={}, overrides=overrides)) as platform:
        yield platform


@contextmanager
def platform(home: Path) -> Iterator[dict[str, Call]]:
    """A platform that serves the model by one replica with everything on: ``infer``, ``predict``, ``infer_64``."""
    with connected(home) as ours:
        url = deployed(ours)
        yield {
            "infer": Call(f"{url}/infer", served_model.infer_body(1)),
            "predict": Call(f"{url}/predict", served_model.predict_body(1)),
            "infer_64": Call(f"{url}/infer", served_model.infer_body(64)),
        }


def deployed(ours: Platform) -> str:
    """Deploy the model with its features on a platform; returns the address of its endpoint."""
    ours.apply(served_model.VIEW, served_model.SERVICE)
    ours.features.ingest(served_model.VIEW.name, served_model.features())
    ours.features.materialize()
    model = served_model.MODEL
    version = ours.models.register(model, served_model.classifier(), example=served_model.example()).version
    ours.endpoints.deploy(model, version, features=served_model.SERVICE.name)
    return f"{ours.url}/v2/models/{model}"


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Kill it and what it started, which may have left its session."""
    started = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    for one in started:
        with suppress(psutil.NoSuchProcess):
            one.kill()
    psutil.wait_procs(started, timeout=30)
    process.wait(30)


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _await_answer(call: Call, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_S
    while True:
        try:
            headers = {"Content-Type": "application/json"}
            answer = requests.post(call.url, data=call.body, headers=headers, timeout=5)
        except requests.ConnectionError:
            answer = None
        if answer is not None and answer.status_code == 200:
            return
        if process.poll() is not None or time.monotonic() > deadline:
            told = answer.text if answer is not None else "it does not listen"
            raise RuntimeError(f"{call.url} does not answer: {told[:500]}\n{log.read_text()[-2000:]}")
        time.sleep(0.1)
