"""The session of a process on the platform: its connection to the cluster, and whether to stop that at the end."""

from __future__ import annotations

import logging
import os
import re
import socket
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import ray
from ray._private.worker import get_dashboard_url
from ray.exceptions import RayError
from ray.util import list_named_actors

from raymlops import runtime
from raymlops.config.platform import PlatformConfig
from raymlops.errors import ConfigError, UnavailableError
from raymlops.runtime.cluster import local_cluster as cluster
from raymlops.runtime.cluster.clients import NAMESPACE
from raymlops.runtime.cluster.names import CONTROLLER, FEATURES, METADATA, MONITOR, RECONCILER
from raymlops.runtime.supervision import head, supervisor
from raymlops.runtime.supervision.home_note import (
    ClusterNote,
    forget_cluster,
    note_cluster,
    note_config,
    noted_cluster,
    noted_progress,
    running_config,
    stopping,
)
from raymlops.runtime.supervision.stopping import take_down_local

__all__ = ["Session", "open_session"]

_log = logging.getLogger(__name__)

_OPEN_PORTS = (("RAY_SERVE_HAPROXY_METRICS_PORT", "9101"), ("RAY_SERVE_HAPROXY_STATS_PORT", "8404"))
"""Setting and Ray's default of the ports that HAProxy opens on all interfaces."""

_FAST_SETTINGS = ("RAY_SERVE_ENABLE_HA_PROXY", "RAY_SERVE_THROUGHPUT_OPTIMIZED", "RAY_SERVE_HAPROXY_NBTHREAD")
_ANSWER_S = 60.0
_ADDRESS = re.compile(r"[^/\s]+:\d+")


class Session:
    """A connected process.

    Attributes:
        config: The configuration that the platform was started with.
        owner: Whether this process started the platform, so that ``close`` stops it.
        note: The cluster.
        lacking: Fast settings that the cluster does not have.
        exposed: Ports of HAProxy that every interface of the cluster's machines listens on.
        guest: Whether the process was connected before, so that ``close`` leaves it connected.
        opened: Resources that the process opened, which ``close`` closes first.
    """

    def __init__(
        self,
        config: PlatformConfig,
        note: ClusterNote,
        *,
        owner: bool,
        lacking: tuple[str, ...] = (),
        exposed: tuple[int, ...] = (),
        guest: bool = False,
    ) -> None:
        self.config = config
        self.note = note
        self.owner = owner
        self.lacking = lacking
        self.exposed = exposed
        self.guest = guest
        self.opened = ExitStack()

    @property
    def url(self) -> str:
        """The platform's HTTP address, for callers on this machine."""
        return self.config.serving.local_url

    def close(self) -> None:
        """Disconnect; take the platform down where this process started it."""
        with ExitStack() as last:
            if self.owner and not self.note.foreign:
                last.callback(take_down_local, self.config.home)  # a driver must not outlive its cluster
            if not self.guest:
                last.callback(cluster.leave)
            if self.owner and self.note.foreign:
                last.callback(runtime.take_down, self.config.home)
            self.opened.close()

    def detach(self) -> None:
        """Disconnect and leave the platform running."""
        self.owner = False
        self.close()


def open_session(
    config: PlatformConfig,
    address: str | None = None,
    *,
    start: bool = True,
    tell: Callable[[str], None] = lambda _: None,
) -> Session:
    """Attach to the platform of a home, or start one: on the cluster at ``address``, or on this machine.

    The cluster is the one of ``address``, else of ``cluster.address``, else the one noted in the home, else the one
    that ``RAY_ADDRESS`` names, else a new one on this machine.

    Args:
        config: The platform's configuration; a platform that runs in the same home keeps its own.
        address: ``host:port`` of a foreign cluster.
        start: Whether to start a platform where none runs.
        tell: Called with each stage of a start, in words.

    Raises:
        ConfigError: A port is taken, the disk is full, versions differ, the home's platform runs on another cluster:
            nothing is left running.
        UnavailableError: The cluster does not answer, did not come up in time, or there is none to attach to.
    """
    note = noted_cluster(config.home)
    wanted = address or config.cluster.address
    if wanted is None and note is None:
        wanted = _address_in(os.environ)
    if wanted is not None:
        wanted = _checked(wanted)
        if note is None and not start and config.home == PlatformConfig().home:
            return _open_there(config, wanted)
        return _open_foreign(config, wanted, note, start=start, tell=tell)
    if note is not None and note.foreign:
        return _open_foreign(config, note.address, note, start=start, tell=tell)
    return _open_local(config, start=start, tell=tell)


def _open_local(config: PlatformConfig, *, start: bool, tell: Callable[[str], None]) -> Session:
    home, guest = config.home, ray.is_initialized()
    owner = False
    running = cluster.find_running(home)
    if running is not None and running.ray_version != version("ray"):
        raise ConfigError(
            f"the running cluster has Ray {running.ray_version}, this is {version('ray')}: `raymlops down` ends it"
        )
    if running is None or (start and (noted_progress(home) is None or stopping(home))):  # of no use, until started anew
        if not start:
            raise UnavailableError(f"no platform runs in {home}: start one with `raymlops up`")
        if guest:
            raise ConfigError("a platform is started by a process that is connected to no Ray cluster: this one is")
        runtime.require_keys(config)
        running, owner = cluster.start_local(config, tell)
    else:
        if start:  # dead parts of a running platform are started again
            supervisor.ensure_supervisor(home)
        running = cluster.await_local(home, tell)
    try:
        cluster.attach(running, home)
    except BaseException:
        if owner:
            cluster.stop_local(home)
        raise
    return Session(running_config(home), running, owner=owner, guest=guest)


def _open_there(config: PlatformConfig, address: str) -> Session:
    """A session on the platform of a cluster, for a process without a home, such as a Ray Job."""
    guest, note = ray.is_initialized(), _unknown(config, address)
    cluster.attach(note, config.home)
    try:
        home = _home_there()
        if home is None:
            raise UnavailableError(f"no platform runs on {address}: start one with `raymlops up`")
        return Session(running_config(home), noted_cluster(home) or note, owner=False, guest=guest)
    except BaseException:
        if not guest:
            cluster.leave()
        raise


def _home_there() -> Path | None:
    """The home of the platform on the cluster that this process is connected to."""
    try:
        metadata = ray.get_actor(METADATA, namespace=NAMESPACE)
        return Path(ray.get(metadata.home.remote(), timeout=_ANSWER_S))
    except ValueError:
        return None
    except RayError as error:
        raise UnavailableError(f"the {METADATA} actor does not answer: {error}") from error


def _unknown(config: PlatformConfig, address: str) -> ClusterNote:
    """The facts about a foreign cluster before the platform is started on it."""
    return ClusterNote("", address, None, config.serving.port, version("ray"), "")


def _open_foreign(
    config: PlatformConfig, address: str, note: ClusterNote | None, *, start: bool, tell: Callable[[str], None]
) -> Session:
    """A session on a foreign cluster; where ``start`` is set, the platform is started on it."""
    home, guest = config.home, ray.is_initialized()
    if note is not None and not _is_one(note.address, address):
        raise ConfigError(f"the platform in {home} runs on {note.address}, not on {address}: `raymlops down` ends it")
    if note is None and not start:
        raise UnavailableError(f"no platform of {home} runs on {address}: start one with `raymlops up`")
    if note is None:
        head.require_disk(home)
        runtime.require_keys(config)
    known = note
    note = known or _unknown(config, address)
    cluster.attach(note, home)
    try:
        if known is None:
            note_config(config)
            note_cluster(home, note)
        if start and not (known is not None and _is_up()):
            tell("the control actors and Serve")
            supervisor.run_boot(home, config.cluster.boot_timeout.total_seconds())
        note = replace(noted_cluster(home) or note, dashboard_url=_dashboard_url())
        note_cluster(home, note)
        environment = _settings_there()
    except BaseException:
        if known is None:
            forget_cluster(home)
        if not guest:
            cluster.leave()
        raise
    lacking, exposed = _lacking(environment), _exposed(environment)
    owner = known is None and start
    return Session(running_config(home), note, owner=owner, lacking=lacking, exposed=exposed, guest=guest)


def _dashboard_url() -> str | None:
    url = get_dashboard_url()
    return f"http://{url}" if url else None


def _is_up() -> bool:
    """Whether every control actor is on the cluster that this process is connected to."""
    there = {actor["name"] for actor in list_named_actors(all_namespaces=True) if actor["namespace"] == NAMESPACE}
    return {CONTROLLER, FEATURES, METADATA, MONITOR, RECONCILER} <= there


def _is_one(noted: str, address: str) -> bool:
    """Whether two addresses are of one cluster: a machine has several, and Ray tells jobs another than it was told."""
    (host, _, port), (other_host, _, other_port) = noted.rpartition(":"), address.rpartition(":")
    return port == other_port and (host == other_host or (_is_here(host) and _is_here(other_host)))


def _is_here(host: str) -> bool:
    """Whether an address is one of this machine's."""
    with socket.socket() as probe:
        try:
            probe.bind((host, 0))
        except OSError:
            return False
    return True


def _checked(address: str) -> str:
    if _ADDRESS.fullmatch(address) is None:
        raise ConfigError(
            f"the address of a Ray cluster must be host:port of its GCS, got {address!r}", address=address
        )
    return address


def _address_in(environment: Mapping[str, str]) -> str | None:
    """The cluster that ``RAY_ADDRESS`` names; it may hold other things, as the address of a dashboard."""
    address = environment.get("RAY_ADDRESS", "")
    return address if _ADDRESS.fullmatch(address) else None


def _settings_there() -> dict[str, str]:
    """The Serve settings of the cluster's own processes."""
    try:
        found: dict[str, str] = ray.get(ray.remote(num_cpus=0)(_environment).remote(), timeout=_ANSWER_S)
    except RayError as error:
        raise UnavailableError(f"the cluster ran no task: {error}") from error
    return found


def _environment() -> dict[str, str]:
    """The Serve settings of this process."""
    return {name: value for name, value in os.environ.items() if name.startswith("RAY_SERVE_")}


def _lacking(environment: Mapping[str, str]) -> tuple[str, ...]:
    """The fast settings that the cluster's own processes do not have."""
    return tuple(name for name in _FAST_SETTINGS if environment.get(name) in (None, "0"))


def _exposed(environment: Mapping[str, str]) -> tuple[int, ...]:
    """HAProxy's metrics and statistics ports, where nothing keeps them to loopback."""
    if environment.get("RAY_SERVE_ENABLE_HA_PROXY") != "1" or "RAY_SERVE_HAPROXY_BINARY_PATH" in environment:
        return ()
    return tuple(int(environment.get(name, default)) for name, default in _OPEN_PORTS)
