"""A notifier that is killed between sending and noting sends again, under the same key, and then no more."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from raymlops.metadata import MetadataService

PROGRAM = """
import asyncio, pathlib, sys
from raymlops.clock import SystemClock
from raymlops.config.reading.loader import load_config
from raymlops.metadata import MetadataService
from raymlops.monitoring.alerts.alert_follower import AlertFollower
from raymlops.monitoring.alerts.alert_rules import AlertRule
from raymlops.monitoring.alerts.notifier import Notifier
from raymlops.monitoring.alerts.webhooks import open_endpoint

webhooks = [{"name": "hook", "url": sys.argv[2]}]
settings = {"monitoring": {"alerts": {"webhooks": webhooks, "history": "send"}}}
config = load_config(environ={}, overrides=settings).monitoring.alerts
metadata, clock = MetadataService(pathlib.Path(sys.argv[1])), SystemClock()
follower = AlertFollower(metadata, clock, config, lambda _: AlertRule(), config.every)
notifier = Notifier(follower, metadata.alerts, [open_endpoint(config.webhooks[0], {})], clock, config)
asyncio.run(notifier.drain())
"""


def test_a_notifier_killed_after_sending_repeats_itself_once(tmp_path: Path) -> None:
    path = tmp_path / "metadata.db"
    with closing(MetadataService(path)) as metadata:
        sequences = [
            metadata.ledger.append_entry("churn", "roll_back", "it failed", {}, key=str(number)).sequence
            for number in range(3)
        ]
    keys: list[str] = []
    children: list[subprocess.Popen[bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            assert self.headers["Idempotency-Key"] == body["key"]
            keys.append(body["key"])
            if len(keys) == 2:
                os.kill(children[-1].pid, signal.SIGKILL)
                children[-1].wait(30)
                return
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{server.server_address[1]}/"

    def run() -> int:
        # held back until the list has it: the handler kills whom it finds there
        child = subprocess.Popen(
            [sys.executable, "-c", f"import sys; sys.stdin.read()\n{PROGRAM}", str(path), url], stdin=subprocess.PIPE
        )
        children.append(child)
        child.communicate(timeout=60)
        return child.returncode

    try:
        assert run() == -signal.SIGKILL
        assert run() == 0
        assert run() == 0
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    expected = [f"churn/rolled_back/{sequence}" for sequence in sequences]
    assert keys == [expected[0], expected[1], expected[1], expected[2]]
    with closing(MetadataService(path)) as metadata:
        states = [(one.state, one.attempts) for one in metadata.alerts.list_deliveries()]
    assert states == [("delivered", 1)] * 3
