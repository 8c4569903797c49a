"""What the manifests for KubeRay have the head do, done on this machine: Ray as KubeRay starts it, then ``up.sh``."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from raymlops.replay.settings import free_port
from tests.support.guides import ROOT, environment_in, run_lines

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]

MANIFESTS = ROOT / "configs" / "kuberay"
SHARED = {each["kind"]: each for each in yaml.safe_load_all((MANIFESTS / "shared.yaml").read_text())}
SERVICE: dict[str, Any] = yaml.safe_load((MANIFESTS / "rayservice.yaml").read_text())


@dataclass(frozen=True)
class Head:
    """A running head, and the shell of its container."""

    directory: Path
    environment: dict[str, str]
    gcs: int
    port: int

    def shell(self, lines: str) -> None:
        """Run lines in the container's shell."""
        run_lines(lines, self.directory, dict(self.environment))  # each shell of a container starts afresh


@pytest.fixture
def head(tmp_path: Path) -> Iterator[Head]:
    settings = tmp_path / "settings"
    settings.mkdir()
    for name, text in SHARED["ConfigMap"]["data"].items():
        (settings / name).write_text(text)
    container = SERVICE["spec"]["rayClusterConfig"]["headGroupSpec"]["template"]["spec"]["containers"][0]
    given = {each["name"]: each["value"] for each in container["env"] if each["name"] not in ("PATH", "PYTHONUSERBASE")}
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0123456789abcdef" * 4}  # as KubeRay does by authOptions
    gcs, port = free_port(), free_port()
    here = {
        "RAYMLOPS_HOME": str(tmp_path / "home"),
        "RAYMLOPS_CONFIG": str(settings / "platform.yaml"),
        "RAYMLOPS_SERVING__PORT": str(port),
        "RAYMLOPS_FEATURES__ROOT": str(tmp_path / "features"),
        "RAYMLOPS_CLUSTER__BOOT_TIMEOUT": "5m",
    }
    environment = environment_in(tmp_path, **(given | token | here))
    place = Path(tempfile.mkdtemp(prefix="rml-head-"))  # Ray's sockets need a short path
    dashboard = free_port()
    environment |= {f"RAY_{name}_ADDRESS": f"http://127.0.0.1:{dashboard}" for name in ("DASHBOARD", "API_SERVER")}
    options = {"port": gcs, "dashboard-port": dashboard, "num-cpus": 2, "object-store-memory": 1 << 28}
    flags = [f"--{name}={value}" for name, value in options.items()]
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--disable-usage-stats"]
    with (tmp_path / "ray.log").open("wb") as log, contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, place, ignore_errors=True)
        ray = subprocess.Popen(
            [*command, f"--temp-dir={place}", *flags], env=environment, stdout=log, stderr=log, start_new_session=True
        )
        stack.callback(_end, ray)
        deadline = time.monotonic() + 300
        while b"Ray runtime started" not in (tmp_path / "ray.log").read_bytes():
            assert ray.poll() is None, (tmp_path / "ray.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield Head(tmp_path, environment, gcs, port)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the head and its session."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(30)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(30)


def test_the_head_brings_the_platform_up_and_the_service_deploys_its_gateway(head: Head) -> None:
    script = (head.directory / "settings" / "up.sh").read_text()
    assert "127.0.0.1:6379" in script
    head.shell(script.replace(":6379", f":{head.gcs}"))
    key = head.directory / "home" / "first-key"
    assert key.stat().st_mode & 0o777 == 0o600
    url, bearer = f"http://127.0.0.1:{head.port}/v2", {"Authorization": f"Bearer {key.read_text().strip()}"}
    assert requests.get(url, headers=bearer, timeout=10).status_code == 200
    assert requests.get(f"{url}/models/nosuch", timeout=10).status_code == 401

    served = head.directory / "serve.yaml"
    served.write_text(SERVICE["spec"]["serveConfigV2"].replace("port: 8000", f"port: {head.port}"))
    head.shell(f"serve deploy {served}")
    deadline = time.monotonic() + 120
    while requests.get(url, headers=bearer, timeout=10).status_code != 200 or not _running(head):
        assert time.monotonic() < deadline
        time.sleep(1)
    head.shell(script.replace(":6379", f":{head.gcs}"))  # as often as the head starts
    assert requests.get(url, headers=bearer, timeout=10).status_code == 200


def _running(head: Head) -> bool:
    done = subprocess.run(
        ["serve", "status"], env=head.environment, capture_output=True, text=True, timeout=60, check=True
    )
    return bool(yaml.safe_load(done.stdout)["applications"]["gateway"]["status"] == "RUNNING")
