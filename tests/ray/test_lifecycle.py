"""Starting, refusing to start, and stopping: nothing is left behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from raymlops.config.platform import PlatformConfig
from raymlops.runtime.supervision.head import processes_of
from raymlops.runtime.supervision.home_note import (
    ClusterNote,
    note_cluster,
    noted_cluster,
    noted_progress,
    supervisor_of,
)

pytestmark = [pytest.mark.ray, pytest.mark.timeout(180)]

CLI = [sys.executable, "-m", "raymlops.cli.main"]


def _environment(home: Path, port: int) -> dict[str, str]:
    return {**os.environ, "RAYMLOPS_HOME": str(home), "RAYMLOPS_SERVING__PORT": str(port)}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_taken_port_is_one_line_and_nothing_is_started(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run(
            [*CLI, "up", "--port", str(port)],
            env=_environment(tmp_path, _free_port()),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.strip().splitlines() == [
        f"error: HTTP port {port} on 127.0.0.1 is taken: choose another with --port or RAYMLOPS_SERVING__PORT"
    ]
    assert not (tmp_path / "cluster.json").exists()


@pytest.mark.slow
def test_a_home_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = subprocess.run(
        [*CLI, "up"],
        env=_environment(tmp_path / "file" / "home", _free_port()),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert "cannot be written" in done.stderr


def test_another_ray_version_is_refused_in_one_line(tmp_path: Path) -> None:
    from raymlops.errors import ConfigError
    from raymlops.runtime.session import open_session

    stand_in = subprocess.Popen(
        [sys.executable, "-c", "input()", "/raylet"], stdin=subprocess.PIPE, start_new_session=True
    )
    try:
        created = psutil.Process(stand_in.pid).create_time()
        note = ClusterNote("0", "127.0.0.1:1", None, 1, "2.59.0", "3.11", stand_in.pid, created)
        note_cluster(tmp_path, note)
        with pytest.raises(ConfigError, match=r"the running cluster has Ray 2\.59\.0, this is"):
            open_session(PlatformConfig(home=tmp_path))
    finally:
        stand_in.communicate(b"\n", timeout=10)


@pytest.mark.parametrize("after", ["start", pytest.param("head", marks=pytest.mark.slow)])
def test_ctrl_c_leaves_no_process(tmp_path: Path, after: str) -> None:
    """Interrupted while the head starts, and once it is up."""
    started = subprocess.Popen(
        [*CLI, "up"], env=_environment(tmp_path, _free_port()), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        deadline = time.monotonic() + 120
        seen: tuple[ClusterNote | None, str] = (None, "")
        while seen[0] is None or (after == "head" and "control actors" not in seen[1]):
            assert time.monotonic() < deadline
            assert started.poll() is None, started.communicate()
            time.sleep(0.02)
            progress = noted_progress(tmp_path)
            seen = noted_cluster(tmp_path), "" if progress is None else progress.doing
        note = seen[0]
        assert note is not None
        started.send_signal(signal.SIGINT)
        started.communicate(timeout=90)
        assert started.returncode != 0
        assert processes_of(note) == []
        assert supervisor_of(tmp_path) is None
        assert noted_cluster(tmp_path) is None
    finally:
        if started.poll() is None:
            started.kill()
        if started.stdout is not None and not started.stdout.closed:
            started.communicate(timeout=30)


@pytest.mark.parametrize(
    "trouble", [TimeoutError("Proxies not available after 60s."), RuntimeError("Serve controller died\nTraceback")]
)
def test_serve_is_started_once_more_where_it_was_late_or_died(
    monkeypatch: pytest.MonkeyPatch, trouble: Exception
) -> None:
    from raymlops.errors import UnavailableError
    from raymlops.runtime import boot

    troubles = [trouble] * 2

    def start(config: PlatformConfig) -> None:
        if troubles:
            raise troubles.pop()

    monkeypatch.setattr(boot.gateway_replica, "start_serving", start)
    boot._serve(PlatformConfig())
    assert troubles == []
    troubles = [trouble] * 3
    with pytest.raises(UnavailableError, match=r"Serve did not start: [^\n]*$"):
        boot._serve(PlatformConfig())
