"""One process's hold on the platform: the cluster, the control actors and Serve."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from importlib import import_module

import ray

from raymlops.config.platform import PlatformConfig
from raymlops.errors import ConfigError, UnavailableError
from raymlops.runtime import cluster

__all__ = ["Session", "open_session"]

_OPEN_PORTS = (("RAY_SERVE_HAPROXY_METRICS_PORT", "9101"), ("RAY_SERVE_HAPROXY_STATS_PORT", "8404"))
"""Setting and Ray's default of the ports that HAProxy opens on all interfaces."""

_FAST_SETTINGS = ("RAY_SERVE_ENABLE_HA_PROXY", "RAY_SERVE_THROUGHPUT_OPTIMIZED", "RAY_SERVE_HAPROXY_NBTHREAD")


class Session:
    """A connected process.

    Attributes:
        config: What the platform was started with.
        owner: Whether this process started the cluster, so that ``close`` stops it.
        lacking: Fast settings that the cluster does not have.
        exposed: Ports of HAProxy that every interface of the cluster's machines listens on.
        guest: Whether the process was connected before, so that ``close`` leaves it connected.
        opened: What the process opened on the way, which ``close`` closes first.
    """

    def __init__(
        self,
        config: PlatformConfig,
        *,
        owner: bool,
        lacking: tuple[str, ...] = (),
        exposed: tuple[int, ...] = (),
        guest: bool = False,
    ) -> None:
        self.config = config
        self.owner = owner
        self.lacking = lacking
        self.exposed = exposed
        self.guest = guest
        self.opened = ExitStack()

    @property
    def url(self) -> str:
        """Where the platform answers HTTP."""
        return f"http://{self.config.serving.host}:{self.config.serving.port}"

    def close(self) -> None:
        """Disconnect; stop the cluster where this process started it."""
        with ExitStack() as last:
            if self.owner:
                last.callback(cluster.stop_local, self.config.home)
            if not self.guest:
                last.callback(ray.shutdown)
            self.opened.close()

    def detach(self) -> None:
        """Disconnect and leave the cluster running."""
        self.owner = False
        self.close()


def open_session(config: PlatformConfig, address: str | None = None, *, start: bool = True) -> Session:
    """Attach to the cluster at ``address``, or to the one noted in the home, or start one.

    Args:
        config: The platform's configuration; a platform that runs in the same home keeps its own.
        address: A cluster that somebody else started.
        start: Whether to start a cluster where none is.

    Raises:
        ConfigError: A port is taken, the disk is full, versions differ: nothing is left running.
        UnavailableError: The cluster does not answer, did not come up in time, or there is none to attach to.
    """
    session = _connect(config, address or config.cluster.address, start=start)
    if not session.owner and address is None:
        return session
    from raymlops.runtime import actors, replica

    logging.getLogger("ray.serve").setLevel(logging.ERROR)  # importing it has set INFO
    pool = ThreadPoolExecutor(2)
    try:
        waiting = [pool.submit(step, session.config) for step in (actors.start_control_plane, replica.start_serving)]
        for one in waiting:
            one.result()
    except BaseException:
        # not waited for: what the threads wait for goes away with the cluster
        pool.shutdown(wait=False, cancel_futures=True)
        session.close()
        raise
    pool.shutdown()
    return session


def _connect(config: PlatformConfig, address: str | None, *, start: bool) -> Session:
    """A session whose control plane may still have to be started."""
    guest = ray.is_initialized()
    if address is not None:
        cluster.require_disk(config.home)
        _require_keys(config)
        cluster.attach(address)
        cluster.note_config(config)
        environment = ray.get(ray.remote(num_cpus=0)(_environment).remote(), timeout=60.0)
        lacking, exposed = _lacking(environment), _exposed(environment)
        return Session(config, owner=False, lacking=lacking, exposed=exposed, guest=guest)
    running = cluster.find_running(config.home)
    if running is not None:
        if running.ray_version != ray.__version__:
            raise ConfigError(f"the running cluster has Ray {running.ray_version}, this is {ray.__version__}")
        cluster.attach(running.address, config.home)
        return Session(cluster.running_config(config.home), owner=False, guest=guest)
    if not start:
        raise UnavailableError(f"no platform runs in {config.home}: start one with `raymlops up`")
    if guest:
        raise ConfigError("a platform is started by a process that is connected to no Ray cluster: this one is")
    _require_keys(config)
    cluster.stop_local(config.home)
    session = Session(config, owner=True)
    try:
        started = cluster.start_local(config, meanwhile=_import_control_plane)
        cluster.attach(started.address, config.home)
    except BaseException:
        session.close()
        raise
    return session


def _import_control_plane() -> None:
    """Begin to import what starts the control plane, which takes about as long as the head does to come up."""
    # in a thread of its own, so that Ctrl+C never ends up in the middle of an import
    threading.Thread(target=import_module, args=("raymlops.runtime.actors",), name="imports", daemon=True).start()


def _require_keys(config: PlatformConfig) -> None:
    from raymlops.runtime.keys import require_keys

    require_keys(config)


def _environment() -> dict[str, str]:
    """The Serve settings of a process of the cluster."""
    import os

    return {name: value for name, value in os.environ.items() if name.startswith("RAY_SERVE_")}


def _lacking(environment: Mapping[str, str]) -> tuple[str, ...]:
    """The fast settings that the cluster's own processes do not have."""
    return tuple(name for name in _FAST_SETTINGS if environment.get(name) in (None, "0"))


def _exposed(environment: Mapping[str, str]) -> tuple[int, ...]:
    """HAProxy's metrics and statistics ports, where nothing keeps them to loopback."""
    if environment.get("RAY_SERVE_ENABLE_HA_PROXY") != "1" or "RAY_SERVE_HAPROXY_BINARY_PATH" in environment:
        return ()
    return tuple(int(environment.get(name, default)) for name, default in _OPEN_PORTS)
