"""Load on an HTTP service: closed-loop by wrk, open-loop at a constant rate by sockets of our own."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import numpy as np

__all__ = ["Call", "Closed", "Open", "closed_loop", "open_loop"]

_SCRIPT = """
local file = io.open("{body}", "rb")
wrk.method = "POST"
wrk.body = file:read("*a")
wrk.headers["Content-Type"] = "application/json"
function done(summary, latency, requests)
  local errors = summary.errors
  io.write("FIGURES ", string.format(
    '{{"requests": %d, "us": %d, "p50": %d, "p99": %d, "errors": %d}}', summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99),
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
"""


class Call(NamedTuple):
    """What is asked again and again: a POST of JSON."""

    url: str
    body: bytes


class Closed(NamedTuple):
    """What so many connections got, each asking again as soon as it was answered."""

    requests_per_s: float
    p50_ms: float
    p99_ms: float
    errors: int


class Open(NamedTuple):
    """What a constant rate of arrivals got; latencies count from when a request was due, not from when it was sent."""

    rate: float
    answered_per_s: float
    p50_ms: float
    p99_ms: float
    p999_ms: float
    errors: int


def closed_loop(call: Call, *, connections: int, seconds: int) -> Closed:
    """Ask over so many connections for so long.

    Raises:
        FileNotFoundError: wrk is not installed (Debian package ``wrk``).
    """
    wrk = shutil.which("wrk")
    if wrk is None:
        raise FileNotFoundError("wrk is needed: apt-get install wrk")
    with tempfile.TemporaryDirectory() as folder:
        body, script = Path(folder) / "body", Path(folder) / "post.lua"
        body.write_bytes(call.body)
        script.write_text(_SCRIPT.format(body=body))
        command = [wrk, "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "-s", str(script), call.url]
        output = subprocess.run(command, check=True, capture_output=True, text=True, timeout=seconds + 30).stdout
    found = json.loads(output.partition("FIGURES ")[2])
    rate = found["requests"] / found["us"] * 1e6
    return Closed(round(rate, 1), found["p50"] / 1000, found["p99"] / 1000, found["errors"])


def open_loop(call: Call, *, rate: float, seconds: float, connections: int = 64) -> Open:
    """Let requests arrive at a constant rate, whether or not earlier ones are answered.

    Args:
        call: The request.
        rate: Arrivals per second.
        seconds: How long.
        connections: Where all wait for answers, arrivals queue; the time they queue counts.
    """
    return asyncio.run(_Arrivals(call, rate, seconds, connections).run())


class _Arrivals:
    def __init__(self, call: Call, rate: float, seconds: float, connections: int) -> None:
        url = urlsplit(call.url)
        assert url.hostname is not None
        self._host, self._port = url.hostname, url.port or 80
        head = {"Host": url.netloc, "Content-Type": "application/json", "Content-Length": str(len(call.body))}
        self._message = _head(f"POST {url.path} HTTP/1.1", head) + call.body
        self._rate, self._count, self._connections = rate, round(rate * seconds), connections
        self._free: deque[_Connection] = deque()
        self._due: deque[float] = deque()
        self.latencies_s: list[float] = []
        self.errors = 0
        self.done = asyncio.Event()

    async def run(self) -> Open:
        loop = asyncio.get_running_loop()
        opened = [
            (await loop.create_connection(lambda: _Connection(self), self._host, self._port))[1]
            for _ in range(self._connections)
        ]
        self._free.extend(opened)
        started = time.perf_counter()
        for number in range(self._count):
            due = started + number / self._rate
            while (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)  # rounded up to a millisecond, which counts; spinning would take a core
            self._due.append(due)
            self._send()
        async with asyncio.timeout(30):
            await self.done.wait()
        took = time.perf_counter() - started
        for connection in opened:
            connection.transport.close()
        p50, p99, p999 = np.percentile(np.array(self.latencies_s) * 1000, [50, 99, 99.9]).round(2).tolist()
        return Open(self._rate, round(len(self.latencies_s) / took, 1), p50, p99, p999, self.errors)

    def _send(self) -> None:
        while self._due and self._free:
            self._free.popleft().send(self._message, self._due.popleft())

    def answered(self, connection: _Connection, due: float, status: bytes) -> None:
        self.latencies_s.append(time.perf_counter() - due)
        self.errors += status != b"200"
        self._free.append(connection)
        self._send()
        if len(self.latencies_s) == self._count:
            self.done.set()


class _Connection(asyncio.Protocol):
    """One request at a time over one connection that is kept."""

    transport: asyncio.Transport

    def __init__(self, arrivals: _Arrivals) -> None:
        self._arrivals = arrivals
        self._buffer = b""
        self._asked_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def send(self, message: bytes, due: float) -> None:
        self._asked_at = due
        self.transport.write(message)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, end, body = self._buffer.partition(b"\r\n\r\n")
        if not end:
            return
        length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
        if len(body) >= int(length):
            self._buffer = b""
            self._arrivals.answered(self, self._asked_at, head[9:12])


def _head(first: str, headers: Mapping[str, str]) -> bytes:
    return "\r\n".join([first, *(f"{name}: {value}" for name, value in headers.items()), "", ""]).encode()
