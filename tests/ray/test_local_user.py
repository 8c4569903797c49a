"""Another user of the machine gets nothing of a running platform: no file, no socket, no port that runs code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from raymlops.runtime.supervision.head import processes_of
from raymlops.runtime.supervision.home_note import ClusterNote, noted_cluster

if TYPE_CHECKING:
    from raymlops.platform import Platform

pytestmark = [pytest.mark.ray, pytest.mark.timeout(180)]


@pytest.fixture
def note(platform: Platform) -> ClusterNote:
    found = noted_cluster(platform.config.home)
    assert found is not None
    if found.foreign:
        pytest.skip("what a cluster of somebody else opens is for them to close")
    return found


def _listeners(note: ClusterNote) -> Iterator[tuple[psutil.Process, str, int]]:
    for process in processes_of(note):
        with suppress(psutil.Error):
            for one in process.net_connections("inet"):
                if one.status == psutil.CONN_LISTEN:
                    yield process, one.laddr.ip, one.laddr.port


def test_every_port_of_the_platform_is_on_loopback(note: ClusterNote) -> None:
    found = list(_listeners(note))
    assert len(found) > 10
    beyond = {(process.name(), ip) for process, ip, _ in found if ip not in ("127.0.0.1", "::1", "::ffff:127.0.0.1")}
    assert beyond == set()


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")
def test_another_user_gets_no_file_no_socket_and_no_process(
    platform: Platform, note: ClusterNote, tmp_path: Path
) -> None:
    """The user knows every name; in truth that takes more than they can see."""
    home, directory = platform.config.home, Path(note.directory)
    inside = [path for root in (home, directory) for path in root.rglob("*")][:20_000]
    assert any(path.is_socket() for path in inside)
    assert any("runtime_resources" in path.parts for path in inside)
    dashboard = (note.dashboard_url or "").removeprefix("http://")
    job = json.dumps({"entrypoint": "true"})
    asked = [["GET", "/api/jobs/", ""], ["POST", "/api/jobs/", job], ["GET", "/nodes?view=summary", ""]]
    serving = f"127.0.0.1:{platform.config.serving.port}"
    routes = [["GET", "/-/routes", ""], ["POST", "/v2/repository/models/flights/unload", "{}"]]
    plan: dict[str, Any] = {
        "directories": [str(home), str(directory), str(directory / "ray")],
        "files": [str(path) for path in inside],
        "processes": [process.pid for process in processes_of(note)],
        "http": [[dashboard, asked], [serving, routes]],
    }
    file = tmp_path / "plan.json"
    file.write_text(json.dumps(plan))
    program = Path(__file__).with_name("local_user.py")
    done = subprocess.run(
        [sys.executable, str(program), str(file)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []


def test_the_attack_is_one_that_open_files_would_not_survive(tmp_path: Path) -> None:
    """The same program finds what is open, so that an empty list means something."""
    if os.geteuid() != 0:
        pytest.skip("becoming another user needs root")
    open_place = Path("/tmp") / f"rml-open-{os.getpid()}"
    open_place.mkdir(mode=0o777)
    try:
        open_place.chmod(0o777)
        secret = open_place / "auth_token"
        secret.write_text("secret")
        secret.chmod(0o666)
        plan = {"directories": [str(open_place)], "files": [str(secret)], "processes": [], "http": []}
        file = tmp_path / "plan.json"
        file.write_text(json.dumps(plan))
        program = Path(__file__).with_name("local_user.py")
        done = subprocess.run(
            [sys.executable, str(program), str(file)], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        got = json.loads(done.stdout)
    finally:
        subprocess.run(["rm", "-rf", str(open_place), f"{open_place}.moved"], check=True)
    assert f"read {secret}" in got
    assert f"opened {secret} for writing" in got
    assert f"wrote into {open_place}" in got
