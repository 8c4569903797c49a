"""The description is true: what is sent to a real port by it is answered as it says."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
import uvicorn

from raymlops.config.serving import ServingConfig
from raymlops.records.plans import ServingPlan
from raymlops.serving import Gateway, HttpRequest, openapi_document
from raymlops.serving.endpoint import Endpoint

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "unsupported_method",
    "ignored_auth",
)
"""All but ``positive_data_acceptance``: what a model's inputs are is not in the document."""


class _Plans:
    async def served_plans(self) -> Mapping[str, ServingPlan]:
        plan = ServingPlan(model="delay", number=1, champion=1, created_at=datetime(2013, 6, 1, tzinfo=UTC))
        return {"delay": plan}


class Port:
    """The cores behind uvicorn, as Serve's replicas are, on a port of loopback; a context manager."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._gateway = Gateway("1.2.3", _Plans())
        self.statuses: set[int] = set()
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        config = uvicorn.Config(self._answer, interface="asgi3", log_level="error", lifespan="off", access_log=False)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=lambda: self._server.run(sockets=[self._socket]), daemon=True)

    def __enter__(self) -> Port:
        self._thread.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._server.should_exit = True
        self._thread.join(timeout=20)
        self._socket.close()

    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        core = self._endpoint if f"{scope['path']}/".startswith("/v2/models/delay/") else self._gateway
        reply = await core.handle(HttpRequest(scope["method"], scope["path"], headers, body))
        self.statuses.add(reply.status)
        headers = {**reply.headers, "content-length": str(len(reply.body))}
        encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": reply.status, "headers": encoded})
        await send({"type": "http.response.body", "body": reply.body})


@pytest.fixture
def port(make_service: Callable[..., Any], config: ServingConfig) -> Iterator[Port]:
    # the process that reads large bodies may be slow to start where the machine is busy
    service = make_service(config.model_copy(update={"deadline": timedelta(minutes=1)}))
    service.serve()
    with Port(service.endpoint) as port:
        yield port


def _document_of_what_is_there() -> bytes:
    """The document, with a model and a version that are there among those that may be asked for."""
    document = openapi_document("1.2.3")
    there = {"model": ["delay", "nobody"], "version": ["1", "9"]}
    for item in document["paths"].values():
        for operation in item.values():
            for parameter in operation["parameters"]:
                if parameter["name"] in there:
                    parameter["schema"] = {"type": "string", "enum": there[parameter["name"]]}
    return orjson.dumps(document)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_schemathesis_finds_nothing(conformance: Callable[..., Any], port: Port, tmp_path: Path) -> None:
    (tmp_path / "openapi.json").write_bytes(_document_of_what_is_there())
    done = conformance(
        *("schemathesis.cli", "run", str(tmp_path / "openapi.json"), "--url", port.url, "--checks", ",".join(CHECKS)),
        *("--seed", "1", "--max-examples", "30", "--phases", "examples,coverage,fuzzing", "--request-timeout", "60"),
        *("--generation-database", "none", "--no-color"),
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert {200, 400, 404, 405} <= port.statuses
