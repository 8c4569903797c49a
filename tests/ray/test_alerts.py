"""Alerts and metrics leave the cluster."""

from __future__ import annotations

import json
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
import requests

from raymlops.config.alerts import AlertsConfig, MetricsConfig, WebhookConfig
from raymlops.records.windows import WindowRecord

if TYPE_CHECKING:
    from raymlops.platform import Platform

pytestmark = pytest.mark.ray

DEADLINE_S = 60.0


class Receiver:
    """A webhook."""

    def __init__(self) -> None:
        self.heard: queue.Queue[dict[str, Any]] = queue.Queue()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver.heard.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(204)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    opened = Receiver()
    yield opened
    opened.close()


def becomes(wanted: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not wanted():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def with_monitoring(platform: Platform, **changes: Any) -> Any:
    monitoring = platform.config.monitoring.model_copy(update=changes)
    return platform.config.model_copy(update={"monitoring": monitoring})


def test_an_alert_reaches_its_webhook_once_also_after_a_crash(
    platform: Platform, receiver: Receiver, command: Callable[..., Any]
) -> None:
    import ray

    from raymlops.runtime.actors.control_plane import start_actor
    from raymlops.runtime.actors.notifier_actor import NotifierActor
    from raymlops.runtime.cluster.clients import NAMESPACE, metadata_stores
    from raymlops.runtime.cluster.names import NOTIFIER

    webhook = WebhookConfig(name="here", url=receiver.url, models=("alerted",), severities=("info", "warning"))
    alerts = AlertsConfig(webhooks=(webhook,), every=timedelta(milliseconds=100))
    metadata = metadata_stores()
    start_actor(NOTIFIER, NotifierActor, with_monitoring(platform, alerts=alerts), DEADLINE_S)
    handle = ray.get_actor(NOTIFIER, namespace=NAMESPACE)
    try:
        becomes(lambda: metadata.alerts.find_cursor("") is not None)
        metadata.ledger.append_entry("alerted", "promote", "it won", {"version": 2}, key="alerted/1")
        first = receiver.heard.get(timeout=DEADLINE_S)
        assert (first["cause"], first["facts"]["version"]) == ("promoted", 2)
        becomes(lambda: platform.monitor.alerts("alerted")[0].deliveries[0].state == "delivered")
        ray.kill(handle, no_restart=False)
        metadata.ledger.append_entry("alerted", "roll_back", "it failed", {}, key="alerted/2")
        second = receiver.heard.get(timeout=DEADLINE_S)
        assert second["cause"] == "rolled_back"
        becomes(lambda: platform.monitor.alerts("alerted")[-1].deliveries[0].state == "delivered")
        assert receiver.heard.empty()
    finally:
        ray.kill(handle)
    done = command("monitor", "alerts", "alerted")
    assert done.returncode == 0, done.stderr
    assert "alerted: rolled back: it failed" in done.stdout
    assert done.stdout.count("here delivered") == 2


@pytest.mark.slow
def test_metrics_are_scraped_from_the_monitor(platform: Platform) -> None:
    import ray

    from raymlops.records.plans import ServingPlan
    from raymlops.runtime.actors.control_plane import start_actor
    from raymlops.runtime.actors.monitor_actor import MonitorActor
    from raymlops.runtime.cluster.clients import NAMESPACE, metadata_stores

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    metadata = metadata_stores()
    now = platform.clock.now()
    # planned to be served by nobody, so that the reconciler starts no endpoint for files that are not there
    metadata.plans.put_plan(ServingPlan(model="measured", number=1, champion=1, served=False, created_at=now))
    window = WindowRecord(model="measured", start=now - timedelta(hours=1), end=now, champion=1, rows=77)
    metadata.windows.put_window(window, b"")
    config = with_monitoring(platform, metrics=MetricsConfig(port=port))
    start_actor("monitor-with-metrics", MonitorActor, config, DEADLINE_S)
    handle = ray.get_actor("monitor-with-metrics", namespace=NAMESPACE)
    try:
        answer = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=DEADLINE_S)
        assert answer.status_code == 200
        assert 'raymlops_monitor_rows{model="measured"} 77.0' in answer.text
    finally:
        ray.kill(handle)
