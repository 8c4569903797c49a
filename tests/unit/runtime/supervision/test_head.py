"""The head as processes: who belongs to it, where its private files lie, what keeps it from starting."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from raymlops.config.platform import PlatformConfig
from raymlops.errors import ConfigError
from raymlops.runtime.supervision import head
from raymlops.runtime.supervision.home_note import ClusterNote, note_cluster
from tests.unit.runtime.supervision.stand_ins import stand_in


def _note(session_id: int, started_at_s: float) -> ClusterNote:
    return ClusterNote("c1d2", "127.0.0.1:1", None, 1, "2.60.0", "3.11", session_id, started_at_s)


def test_processes_are_found_by_session_and_by_marker_and_nothing_else_is_stopped() -> None:
    since = time.time()
    with ExitStack() as stack:
        leader = stack.enter_context(stand_in(session=True))
        marked = stack.enter_context(stand_in(session=True, environment={head.MARKER: "c1d2"}))
        other = stack.enter_context(stand_in(session=True, environment={head.MARKER: "ffff"}))
        note = _note(leader.pid, since)
        assert {one.pid for one in head.processes_of(note)} == {leader.pid, marked.pid}
        assert head.stop_processes(note) == 2
        assert head.processes_of(note) == []
        assert head.alive(psutil.Process(other.pid))
        assert head.stop_processes(note) == 0


def test_a_process_that_is_older_than_the_cluster_is_none_of_it() -> None:
    with stand_in(session=True) as stranger:
        assert head.processes_of(_note(stranger.pid, time.time() + 60)) == []


def test_every_taken_port_is_named_with_its_setting(tmp_path: Path) -> None:
    with ExitStack() as stack:
        ports = []
        for _ in range(3):
            taken = stack.enter_context(socket.socket())
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            ports.append(taken.getsockname()[1])
        config = PlatformConfig.model_validate(
            {
                "home": tmp_path,
                "serving": {"port": ports[0], "grpc_port": ports[1]},
                "monitoring": {"metrics": {"port": ports[2]}},
            }
        )
        with pytest.raises(ConfigError) as caught:
            head.require_free_ports(config)
    assert str(caught.value).split("; ") == [
        f"HTTP port {ports[0]} on 127.0.0.1 is taken: choose another with --port or RAYMLOPS_SERVING__PORT",
        f"gRPC port {ports[1]} on 127.0.0.1 is taken: choose another with RAYMLOPS_SERVING__GRPC_PORT",
        f"metrics port {ports[2]} on 127.0.0.1 is taken: choose another with RAYMLOPS_MONITORING__METRICS__PORT",
    ]
    head.require_free_ports(config)


def test_the_longest_path_of_a_socket_fits() -> None:
    deepest = "x" * head._LONGEST_DIRECTORY + "/proxy/" + "n" * 56 + "/admin.sock.4194304.tmp"
    assert len(deepest) <= 107


@pytest.mark.parametrize("long", [False, True])
def test_what_ray_leaves_open_lies_where_nobody_else_can_enter(tmp_path: Path, long: bool) -> None:
    home = Path(f"/tmp/h-{os.getpid()}") if not long else tmp_path / ("long" * 20)
    home.mkdir(mode=0o700)
    place = None
    try:
        place = head._private_directory(home)
        assert stat.S_IMODE(place.stat().st_mode) == 0o700
        assert (place.parent == home) is not long
        assert len(os.fsencode(place)) <= head._LONGEST_DIRECTORY
        for number in range(3):
            (place / "ray" / f"session_202{number}").mkdir(parents=True)
        again = head._private_directory(home)
        if not long:
            assert again == place
            assert [path.name for path in (place / "ray").iterdir()] == ["session_2022"]
        else:
            again.rmdir()
            note_cluster(home, replace(_note(1, 0.0), directory=str(place)))
            assert head._private_directory(home) == place
            place.chmod(0o755)
            other = head._private_directory(home)
            assert other != place
            other.rmdir()
    finally:
        for path in (place, home):
            if path is not None:
                subprocess.run(["rm", "-rf", str(path)], check=True)


@pytest.mark.parametrize(
    ("command", "roles"),
    [
        (["/v/ray/core/src/ray/gcs/gcs_server", "--log_dir=/x/raylet"], ["gcs"]),
        (["/v/ray/core/src/ray/raylet/raylet", "--raylet_socket_name=/x/sockets/raylet"], ["raylet"]),
        (["/v/python", "/v/ray/dashboard/dashboard.py", "--host=127.0.0.1"], ["dashboard"]),
        (["/v/python", "-u", "/v/ray/_private/log_monitor.py", "--session-dir=/x"], ["log monitor"]),
        (["/v/python", "-u", "/v/ray/autoscaler/_private/monitor.py", "--logs-dir=/x"], ["autoscaler"]),
        (["/v/python", "-m", "ray.util.client.server", "--address=x"], ["client server"]),
        (["ray::DashboardAgent"], ["dashboard agent"]),
        (["ray::RuntimeEnvAgent   "], ["runtime environment agent"]),
        (["ray::ServeReplica:model-raylet:ModelReplica"], []),
        (["ray-dashboard-JobHead-0 (/v/python"], []),
        ([], []),
    ],
)
def test_core_processes_are_told_by_their_commands(command: list[str], roles: list[str]) -> None:
    assert list(head._roles(command)) == roles
