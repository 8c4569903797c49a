"""Traces of a platform of its own, as a collector gets them by OTLP over HTTP."""

from __future__ import annotations

import gzip
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from raymlops.replay.settings import free_port
from raymlops.tracing import context_of
from tests.support.guides import environment_in

pb = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2", reason="needs raymlops[otel]")
pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
DEADLINE_S = 60.0
ASK = """
import sys
import numpy as np, pyarrow as pa, raymlops, requests
from sklearn.linear_model import LinearRegression

rows = np.random.default_rng(0).normal(size=(50, 2))
with raymlops.connect() as platform:
    example = pa.table({"a": [0.1, -0.2], "b": [0.3, 0.4]})
    model = LinearRegression().fit(rows, rows.sum(axis=1))
    platform.endpoints.deploy("traced", platform.models.register("traced", model, example=example).version)
    tensor = {"name": "features", "shape": [1, 2], "datatype": "FP64", "data": [1.0, 2.0]}
    for path in ("infer", "versions/1/infer"):
        answer = requests.post(
            f"{platform.url}/v2/models/traced/{path}",
            json={"inputs": [tensor]},
            headers={"traceparent": sys.argv[1]},
            timeout=30,
        )
        assert answer.status_code == 200, answer.text
    platform.endpoints.undeploy("traced", reason="all was asked")
"""


class Collector:
    """Keeps the spans that are posted to ``url``, with the name of the service that sent them."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._spans: list[tuple[str, Any]] = []
        self.url = ""

    def take(self, body: bytes) -> None:
        message = pb.ExportTraceServiceRequest.FromString(body)
        with self._changed:
            for sent in message.resource_spans:
                service = _attributes(sent.resource)["service.name"]
                self._spans += [(service, span) for scope in sent.scope_spans for span in scope.spans]
            self._changed.notify_all()

    def named(self, *names: str, count: int) -> list[tuple[str, Any]]:
        """The spans of these names, in the order of their starts; waits for so many."""
        deadline = time.monotonic() + DEADLINE_S
        with self._changed:
            while True:
                found = [each for each in self._spans if each[1].name in names]
                if len(found) >= count:
                    return sorted(found, key=lambda each: int(each[1].start_time_unix_nano))
                came = sorted(span.name for _, span in self._spans)
                assert self._changed.wait(deadline - time.monotonic()), f"{len(found)} of {count} came: {came}"


def _attributes(message: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in message.attributes}


@contextmanager
def _collecting() -> Iterator[Collector]:
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            collector.take(gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collector.url = f"http://127.0.0.1:{server.server_address[1]}/v1/traces"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield collector
        finally:
            server.shutdown()
            thread.join(10)


def test_a_collector_gets_requests_and_decisions_of_every_process(tmp_path: Path) -> None:
    with _collecting() as collector:
        environment = environment_in(
            tmp_path,
            RAYMLOPS_HOME=str(tmp_path / "home"),
            RAYMLOPS_SERVING__PORT=str(free_port()),
            RAYMLOPS_CLUSTER__START_TIMEOUT="5m",
            RAYMLOPS_CLUSTER__BOOT_TIMEOUT="5m",
            RAYMLOPS_TRACING__ENABLED="true",
            RAYMLOPS_TRACING__ENDPOINT=collector.url,
            RAYMLOPS_TRACING__SAMPLE="0",
            RAYMLOPS_TRACING__EXPORT_EVERY="200ms",
            RAYMLOPS_TRACING__SERVICE_NAME="shop",
        )
        command = [sys.executable, "-W", "ignore", "-c", ASK, f"00-{TRACE}-{PARENT}-01"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        asked = collector.named(
            "POST /v2/models/{model}/infer", "POST /v2/models/{model}/versions/{version}/infer", count=2
        )
        for service, span in asked:
            assert (service, span.trace_id.hex(), span.parent_span_id.hex()) == ("shop", TRACE, PARENT)
            (told,) = span.events
            assert told.name == "feature_flag.evaluation"
            assert _attributes(told)["feature_flag.result.variant"] == "1"
        decided = collector.named("deploy traced", "undeploy traced", count=2)
        assert [span.name for _, span in decided] == ["deploy traced", "undeploy traced"]
        for service, span in decided:
            told_of = _attributes(span)
            named = context_of(f"entry/{told_of['raymlops.decision.id']}")
            assert (service, span.trace_id.hex()) == ("shop", f"{named.trace_id:032x}")
            assert told_of["cicd.pipeline.result"] == "success"
