"""One process's hold on the platform: the cluster, the control actors and Serve."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor

import ray

from raymlops.config.platform import PlatformConfig
from raymlops.errors import ConfigError, UnavailableError
from raymlops.runtime import actors, cluster, replica
from raymlops.runtime.keys import require_keys

__all__ = ["Session", "open_session"]

_FAST_SETTINGS = ("RAY_SERVE_ENABLE_HA_PROXY", "RAY_SERVE_THROUGHPUT_OPTIMIZED", "RAY_SERVE_HAPROXY_NBTHREAD")


class Session:
    """A connected process.

    Attributes:
        config: What the platform was started with.
        owner: Whether this process started the cluster, so that ``close`` stops it.
        lacking: Fast settings that the cluster does not have.
    """

    def __init__(self, config: PlatformConfig, *, owner: bool, lacking: tuple[str, ...] = ()) -> None:
        self.config = config
        self.owner = owner
        self.lacking = lacking

    @property
    def url(self) -> str:
        """Where the platform answers HTTP."""
        return f"http://{self.config.serving.host}:{self.config.serving.port}"

    def close(self) -> None:
        """Disconnect; stop the cluster where this process started it."""
        ray.shutdown()
        if self.owner:
            cluster.stop_local(self.config.home)

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
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    session = _connect(config, address or config.cluster.address, start=start)
    if not session.owner and address is None:
        return session
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
    if address is not None:
        cluster.require_disk(config.home)
        require_keys(config)
        cluster.attach(address)
        cluster.note_config(config)
        return Session(config, owner=False, lacking=_lacking())
    running = cluster.find_running(config.home)
    if running is not None:
        if running.ray_version != ray.__version__:
            raise ConfigError(f"the running cluster has Ray {running.ray_version}, this is {ray.__version__}")
        cluster.attach(running.address, config.home)
        return Session(cluster.running_config(config.home), owner=False)
    if not start:
        raise UnavailableError(f"no platform runs in {config.home}: start one with `raymlops up`")
    require_keys(config)
    cluster.stop_local(config.home)
    session = Session(config, owner=True)
    try:
        started = cluster.start_local(config)
        cluster.attach(started.address, config.home)
    except BaseException:
        session.close()
        raise
    return session


def _environment(names: tuple[str, ...]) -> list[str]:
    import os

    return [name for name in names if os.environ.get(name) in (None, "0")]


def _lacking() -> tuple[str, ...]:
    """The fast settings that the cluster's own processes do not have."""
    return tuple(ray.get(ray.remote(num_cpus=0)(_environment).remote(_FAST_SETTINGS), timeout=60.0))
