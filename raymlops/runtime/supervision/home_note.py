"""Notes in the home about its platform: the cluster, the configuration, and the progress of its start.

Every process of the platform finds the others by these files, never by an address that another Ray left on the
machine. The module imports no Ray: the supervisor and commands that only look stay small and quick.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from raymlops.config.platform import PlatformConfig
from raymlops.config.reading.listing import setting_sources
from raymlops.errors import ConfigError, UnavailableError
from raymlops.scratch import write_whole

__all__ = [
    "ClusterNote",
    "Phase",
    "Progress",
    "forget_cluster",
    "note_cluster",
    "note_config",
    "note_drained",
    "note_progress",
    "note_supervisor",
    "noted_cluster",
    "noted_drained",
    "noted_progress",
    "noted_sources",
    "prepare_home",
    "running_config",
    "stopping",
    "supervisor_lock",
    "supervisor_of",
    "turn",
]

Phase = Literal["starting", "up", "restarting", "failed", "stopping"]
_DRAINED = "drained.json"
_SOURCES = "setting-sources.json"
_TURN_S = 90.0


@dataclass(frozen=True)
class ClusterNote:
    """The Ray cluster that the platform of a home runs on, as noted in ``cluster.json``."""

    cluster_id: str
    """Value of the marker variable that processes of a local head inherit."""
    address: str
    """``host:port`` of the GCS."""
    dashboard_url: str | None
    http_port: int
    ray_version: str
    python: str
    session_id: int = 0
    """Unix session of the head's processes; 0 for a foreign cluster."""
    started_at_s: float = 0.0
    """Seconds since 1970: processes older than this are none of ours, whatever their number."""
    directory: str = ""
    """Private directory of Ray's temporary files and HAProxy's sockets; empty for a foreign cluster."""
    serve_started: bool = False
    """Whether ``up`` started Serve on a foreign cluster, so that ``down`` shuts it down."""

    @property
    def foreign(self) -> bool:
        """Whether the cluster is foreign: the platform did not start it."""
        return self.session_id == 0


@dataclass(frozen=True)
class Progress:
    """How far the start of a local platform has come, as the supervisor notes it in ``supervisor.json``."""

    phase: Phase
    doing: str = ""
    """The present step, or the reason why it failed or is started again."""
    error_kind: str = ""
    """Class name of the error behind ``failed``."""
    restarts: int = 0
    """How often the platform was started again since ``up``."""
    at_s: float = 0.0
    """When the phase began, in seconds since 1970."""


def prepare_home(home: Path) -> None:
    """Make the home a directory that only its owner may enter.

    Raises:
        ConfigError: It cannot be made, or belongs to another user.
    """
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        owner = home.stat().st_uid
        if owner != os.geteuid():
            raise ConfigError(f"RAYMLOPS_HOME {home} must belong to user {os.geteuid()}, it belongs to user {owner}")
        home.chmod(0o700)
    except OSError as error:
        raise ConfigError(f"RAYMLOPS_HOME {home} cannot be written: {error.strerror}") from error


def note_config(config: PlatformConfig) -> None:
    """Keep the configuration that the platform starts with, for every process that joins later."""
    write_whole(config.home / "platform.json", config.model_dump_json(exclude={"home"}).encode())
    write_whole(config.home / _SOURCES, json.dumps(setting_sources(config)).encode())


def running_config(home: Path) -> PlatformConfig:
    """The configuration that the platform in ``home`` was started with; its home is where it was found.

    Raises:
        ConfigError: There is none, or it is not readable.
    """
    path = home / "platform.json"
    try:
        noted = {**json.loads(path.read_bytes()), "home": str(home)}
        return PlatformConfig.model_validate_json(json.dumps(noted))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} is not readable: {error}") from error


def noted_sources(home: Path) -> dict[str, str]:
    """Dotted name of each setting -> who gave it when the platform started; empty where that was not noted."""
    try:
        found: dict[str, str] = json.loads((home / _SOURCES).read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ConfigError(f"{home / _SOURCES} is not readable: {error}") from error
    return found


def note_cluster(home: Path, note: ClusterNote) -> None:
    """Note the cluster that the platform of a home runs on."""
    write_whole(home / "cluster.json", json.dumps(asdict(note)).encode())


def noted_cluster(home: Path) -> ClusterNote | None:
    """The cluster that is noted in a home, whether it still runs or not.

    Raises:
        ConfigError: The note is not readable.
    """
    path = home / "cluster.json"
    try:
        return ClusterNote(**json.loads(path.read_text()))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"{path} is not readable: {error}; remove it") from error


def forget_cluster(home: Path) -> None:
    """Remove the notes of a platform that was taken down."""
    for name in ("cluster.json", "supervisor.json", _DRAINED):
        (home / name).unlink(missing_ok=True)


def note_progress(home: Path, progress: Progress) -> None:
    """Note how far the start of the platform has come."""
    noted = {**asdict(progress), "at_s": progress.at_s or time.time()}
    write_whole(home / "supervisor.json", json.dumps(noted).encode())


def noted_progress(home: Path) -> Progress | None:
    """Progress of the platform's start; ``None`` where none is under way."""
    try:
        return Progress(**json.loads((home / "supervisor.json").read_text()))
    except (OSError, ValueError, TypeError):
        return None


def stopping(home: Path) -> bool:
    """Whether the platform of a home is being stopped, or a stop was interrupted."""
    progress = noted_progress(home)
    return progress is not None and progress.phase == "stopping"


def note_drained(home: Path, trouble: str | None) -> None:
    """Note, for the process that stops the platform, that replicas handed over their events, or the error."""
    write_whole(home / _DRAINED, json.dumps({"trouble": trouble}).encode())


def noted_drained(home: Path) -> tuple[str | None] | None:
    """The note about the drain, in a tuple; ``None`` where there is none."""
    try:
        return (json.loads((home / _DRAINED).read_text())["trouble"],)
    except (OSError, ValueError, KeyError, TypeError):
        return None


@contextmanager
def turn(home: Path, timeout_s: float = _TURN_S) -> Iterator[None]:
    """Hold the lock under which the platform of a home is started or stopped.

    Raises:
        UnavailableError: Another process was at it for longer than ``timeout_s``.
    """
    if not home.is_dir():
        yield  # there is no platform to stop, and `up` makes the home first
        return
    deadline = time.monotonic() + timeout_s
    handle = os.open(home / "turn.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while not _locked(handle):
            if time.monotonic() > deadline:
                raise UnavailableError(
                    f"another `raymlops up` or `down` of {home} was at work for {timeout_s:g} s: try again later"
                )
            time.sleep(0.05)
        yield
    finally:
        os.close(handle)


def _locked(handle: int) -> bool:
    """Take the lock of an open file; ``False`` where another process holds it."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def supervisor_lock(home: Path) -> int | None:
    """Take the lock of the one supervisor of a home, for as long as this process, or a fork of it, lives.

    Returns:
        The open file, or ``None`` where another process holds the lock.
    """
    handle = os.open(home / "supervisor.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    if not _locked(handle):
        os.close(handle)
        return None
    note_supervisor(handle)
    return handle


def note_supervisor(handle: int) -> None:
    """Write this process's id into the file of the lock."""
    os.ftruncate(handle, 0)
    os.pwrite(handle, str(os.getpid()).encode(), 0)


def supervisor_of(home: Path) -> int | None:
    """Process id of the supervisor of a home; ``None`` where none runs."""
    try:
        handle = os.open(home / "supervisor.lock", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        text = os.read(handle, 32).decode().strip()
        return int(text) if text.isdecimal() else None
    else:
        return None
    finally:
        os.close(handle)
