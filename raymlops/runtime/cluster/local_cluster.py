"""The platform's cluster as a client sees it: start a local one, attach to the one that runs, stop what was started."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import ray
from ray._private import ray_constants
from ray._private import worker as ray_worker
from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]  # compiled, without stubs

from raymlops import errors
from raymlops.config.platform import PlatformConfig
from raymlops.errors import ConfigError, UnavailableError
from raymlops.runtime.cluster.clients import NAMESPACE
from raymlops.runtime.supervision import head, supervisor
from raymlops.runtime.supervision.home_note import (
    ClusterNote,
    Progress,
    note_config,
    note_progress,
    noted_cluster,
    noted_progress,
    running_config,
    stopping,
    supervisor_of,
    turn,
)
from raymlops.runtime.supervision.stopping import stop_local, stop_rest

__all__ = ["attach", "await_local", "find_running", "leave", "running_config", "start_local", "stop_local"]

_POLL_S = 0.05
_SLACK_S = 30.0
"""Beyond the deadlines of the head and of what is started on it: the supervisor keeps those, and tells."""


def start_local(config: PlatformConfig, tell: Callable[[str], None] = lambda _: None) -> tuple[ClusterNote, bool]:
    """Start the platform on this machine under a supervisor, and wait until the control actors and Serve are up.

    Args:
        config: The platform's configuration.
        tell: Called with each stage of the start, in words.

    Returns:
        The cluster, and whether this call started it; ``False`` where another one did at the same time.

    Raises:
        ConfigError: A port is taken, the disk is full, the home is not writable: nothing was started.
        UnavailableError: The platform did not come up; what was started is stopped again.
    """
    home = config.home
    head.require_disk(home)
    ours = False
    try:
        with turn(home):
            progress = noted_progress(home)
            # of several that start it at once, the first one does, and the others wait for it
            ours = supervisor_of(home) is None or progress is None or progress.phase in ("failed", "stopping")
            if ours:
                stop_rest(home)
                head.require_free_ports(config)
                note_config(config)
                note_progress(home, Progress("starting", "the supervisor"))
                supervisor.ensure_supervisor(home)
        return await_local(home, tell), ours
    except BaseException:
        if ours and not (noted_progress(home) is None or stopping(home)):  # else another process took it down meanwhile
            stop_local(home)
        raise


def await_local(home: Path, tell: Callable[[str], None] = lambda _: None) -> ClusterNote:
    """Wait until the supervisor of a home says that the platform is up.

    Raises:
        RaymlopsError: Why the start failed.
        UnavailableError: The platform was not up within the deadlines of its configuration, or no process starts it.
    """
    cluster_config = running_config(home).cluster
    timeout_s = cluster_config.start_timeout.total_seconds() + cluster_config.boot_timeout.total_seconds() + _SLACK_S
    deadline, told = time.monotonic() + timeout_s, ""
    while True:
        progress = noted_progress(home)
        if progress is None or progress.phase == "stopping":
            what = "was stopped while it started" if told else "does not run"
            raise UnavailableError(f"the platform in {home} {what}: start it with `raymlops up`")
        if progress.phase == "up" and (note := noted_cluster(home)) is not None:
            return note
        if progress.phase == "failed":
            raise getattr(errors, progress.error_kind, UnavailableError)(progress.doing)
        if progress.doing != told:
            told = progress.doing
            tell(told if progress.phase == "starting" else f"starting again after: {told}")
        if time.monotonic() > deadline:
            raise UnavailableError(f"the platform in {home} was not up within {timeout_s:g} s: {progress.doing}")
        if supervisor_of(home) is None and noted_progress(home) == progress:
            raise UnavailableError(f"the supervisor of {home} is gone: start it again with `raymlops up`")
        time.sleep(_POLL_S)


def find_running(home: Path) -> ClusterNote | None:
    """The cluster of the platform that runs in ``home``; a local one counts while it is supervised or alive."""
    note = noted_cluster(home)
    if note is None or note.foreign:
        return note
    return note if supervisor_of(home) is not None or head.core_processes(note) else None


def attach(note: ClusterNote, home: Path) -> None:
    """Connect this process to the noted cluster as a driver.

    Args:
        note: The cluster.
        home: Directory of the token, for a cluster that was started here.

    Raises:
        ConfigError: Another Ray or Python version runs there, or this process is connected to another cluster.
        UnavailableError: Nobody answers there.
    """
    address = note.address
    if ray.is_initialized():
        joined = ray.get_runtime_context().gcs_address
        # a cluster may be known by several addresses of its machine: the port tells clusters of one machine apart
        if joined.rpartition(":")[2] != address.rpartition(":")[2]:
            raise ConfigError(
                f"this process is connected to the Ray cluster at {joined}, the platform's is at {address}"
            )
        return
    local = not note.foreign
    if local:
        os.environ.update(head.auth_environment(home))
    # Ray would look for a cluster on loopback at the machine's own address, where it does not listen.
    told = os.environ.get("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER") != "0"
    ray_constants.ENABLE_RAY_CLUSTER = told and not (local and head.on_loopback(address))
    # Ray reads these when it is imported, and offers no public way to read them again.
    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()
    # A driver's handles need a router loop of their own, whatever the cluster's replicas do.
    os.environ.pop("RAY_SERVE_THROUGHPUT_OPTIMIZED", None)
    # Ray would print warnings of its raylets between the lines of our output, which programs read.
    ray_worker._worker_logs_enabled = False
    own = signal.getsignal(signal.SIGTERM)
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
    if callable(own) and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, own)  # Ray's core ends the process at once, whatever the program had set


def leave() -> None:
    """Disconnect; another cluster that this process joins later may print again."""
    ray.shutdown()
    ray_worker._worker_logs_enabled = True
