"""A planned stop of a local platform: replicas hand over what they answered, then every process ends.

The reconciler does the first part, for it is connected to the cluster: this module imports no Ray, and a stop does not
wait for a driver to attach.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil

from raymlops.errors import UnavailableError
from raymlops.runtime.supervision import head
from raymlops.runtime.supervision.home_note import (
    ClusterNote,
    Progress,
    forget_cluster,
    note_progress,
    noted_cluster,
    noted_drained,
    noted_progress,
    supervisor_of,
    turn,
)

__all__ = ["RECONCILER_TITLE", "stop_local", "stop_rest", "take_down_local"]

RECONCILER_TITLE = "ray::ReconcilerActor"
"""How the title of the process begins that drains replicas."""
_DRAIN_S = 25.0
"""How long the reconciler may take to notice the stop and to have all replicas drained."""
_GONE_S = 3.0
"""How long a reconciler may be away: Ray starts it again where it died."""
_POLL_S = 0.05


def take_down_local(home: Path, tell: Callable[[str], None] = lambda _: None) -> int:
    """Stop the local platform of a home; a repeat finds nothing to do.

    Endpoints stop answering first and hand over the events of what they answered.

    Args:
        home: ``RAYMLOPS_HOME``.
        tell: Called with what goes wrong on the way and does not stop it.

    Returns:
        How many processes were stopped.

    Raises:
        UnavailableError: Some would not go, or somebody else starts or stops it for too long.
    """
    with turn(home):
        note = noted_cluster(home)
        if note is not None and not note.foreign and {"gcs", "raylet"} <= set(head.core_processes(note)):
            note_progress(home, Progress("stopping"))
            _await_drained(home, note, tell)
        return stop_rest(home)


def _await_drained(home: Path, note: ClusterNote, tell: Callable[[str], None]) -> None:
    """Wait until the reconciler, which sees that the platform is being stopped, has drained all replicas."""
    deadline = time.monotonic() + _DRAIN_S
    seen, reconciler = time.monotonic(), _reconciler_of(note)
    while (drained := noted_drained(home)) is None:
        if reconciler is not None and head.alive(reconciler):
            seen = time.monotonic()
        elif time.monotonic() - seen > _GONE_S:
            tell("the reconciler does not run, so that events may be lost")
            return
        else:
            reconciler = _reconciler_of(note)
        if time.monotonic() > deadline:
            tell(f"the reconciler did not have replicas drained within {_DRAIN_S:g} s, so that events may be lost")
            return
        time.sleep(_POLL_S)
    if drained[0] is not None:
        tell(drained[0])


def _reconciler_of(note: ClusterNote) -> psutil.Process | None:
    for process in head.processes_of(note):
        try:
            if process.cmdline()[:1] and process.cmdline()[0].startswith(RECONCILER_TITLE):
                return process
        except psutil.Error:
            continue
    return None


def stop_local(home: Path, timeout_s: float = 20.0) -> int:
    """Stop the supervisor and every process of the local cluster noted in ``home``; a repeat finds nothing to do.

    Returns:
        How many processes were stopped.

    Raises:
        UnavailableError: Some would not go within ``timeout_s``, or somebody else starts or stops it for too long.
    """
    with turn(home):
        return stop_rest(home, timeout_s)


def stop_rest(home: Path, timeout_s: float = 20.0) -> int:
    """As ``stop_local``, for a process whose turn it is."""
    note = noted_cluster(home)
    if note is not None and note.foreign:
        return 0
    if noted_progress(home) is not None:
        note_progress(home, Progress("stopping"))  # so that the supervisor is not started again
    stopped = _stop_supervisor(home, timeout_s)
    if note is None:
        note = noted_cluster(home)  # of a head that was started meanwhile
    if note is not None:
        stopped += head.stop_processes(note, timeout_s)
        directory = Path(note.directory)
        if directory.name.startswith("rml-") and directory.parent != home:
            shutil.rmtree(directory, ignore_errors=True)
    forget_cluster(home)
    return stopped


def _stop_supervisor(home: Path, timeout_s: float) -> int:
    deadline = time.monotonic() + timeout_s
    stopped: set[int] = set()
    while (pid := supervisor_of(home)) is not None:
        for process in _with_children(pid):
            with suppress(psutil.Error):  # it ended by itself meanwhile
                process.kill()
                stopped.add(process.pid)
        if time.monotonic() > deadline:
            raise UnavailableError(f"the supervisor, process {pid}, did not stop within {timeout_s:g} s")
        time.sleep(_POLL_S)
    return len(stopped)


def _with_children(pid: int) -> list[psutil.Process]:
    """The supervisor, and what it is starting the platform with, which is not yet of any cluster."""
    try:
        supervisor = psutil.Process(pid)
        return [supervisor, *supervisor.children()]
    except psutil.Error:
        return []
