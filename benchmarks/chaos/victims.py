"""The kinds of processes of a platform, and how to find those of one platform."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

__all__ = ["KINDS", "Kind", "Process", "kinds_there", "members", "of_kind", "target_of"]

_MARKER = "RAYMLOPS_CLUSTER"
_REPLICA_OF_TWO = "ServeReplica:model-pairs"


@dataclass(frozen=True)
class Kind:
    """A kind of process."""

    name: str
    pattern: str
    """A regular expression that its title or its command line holds."""
    target_s: float | None
    """The longest outage that its death may cost; ``None``: nothing was asked for."""
    weight: float = 1.0
    """How often it is drawn, beside the others."""
    returns: bool = True
    """Whether as many as before must be there again."""
    deadline_s: float = 60.0
    """How long the campaign waits until all is as before."""
    needs: str | None = None
    """What has to be under way so that there is one: a ``run``, a ``trial``, or a ``client``."""


_TREE = "whole tree"
KINDS = (
    Kind("metadata", r"^ray::MetadataActor", 0),
    Kind("features", r"^ray::FeaturesActor", 0),
    Kind("monitor", r"^ray::MonitorActor", 0),
    Kind("controller", r"^ray::ControllerService", 0),
    Kind("notifier", r"^ray::NotifierActor", 0),
    Kind("projector", r"^ray::ProjectorActor", 0),
    Kind("reconciler", r"^ray::ReconcilerActor", 0),
    Kind("Serve controller", r"^ray::ServeController", 0),
    Kind("HAProxy manager", r"^ray::HAProxyManager", 0),
    Kind("fallback proxy", r"^ray::ProxyActor", 0),
    Kind("gateway", r"^ray::ServeReplica:gateway", 0),
    Kind("candidate", r"^ray::ServeReplica:candidate-", 0, needs="trial"),
    Kind("one of two replicas", rf"^ray::{_REPLICA_OF_TWO}:", 1),
    Kind("only replica", rf"^ray::(?!{_REPLICA_OF_TWO}:)ServeReplica:model-", None),
    Kind("HAProxy guard", r"haproxy_(guard|keeper|front|spare)\b", 2),
    Kind("HAProxy", r"haproxy\.cfg\S* .*-db\b", 2),
    Kind("idle worker", r"^ray::IDLE", 0, returns=False),
    Kind("job driver", r"raymlops\.cli\.train --run", 0, returns=False, weight=0.5, needs="run"),
    Kind("job supervisor", r"^ray::(JobSupervisor|_ray_internal_job_actor)", 0, returns=False, weight=0.5, needs="run"),
    Kind(
        "trial worker",
        r"^ray::(ResourceTrainable|ImplicitFunc|run_trial|bundle_)",
        0,
        returns=False,
        weight=0.5,
        needs="run",
    ),
    Kind("command-line client", r"raymlops\.cli\.main models promote", 0, returns=False, weight=0.5, needs="client"),
    Kind("GCS", r"ray/gcs/gcs_server ", 45, weight=0.5, deadline_s=120),
    Kind("raylet", r"ray/raylet/raylet ", 45, weight=0.5, deadline_s=120),
    Kind("head", r"ray\.scripts\.scripts start --head", 45, weight=0.25, deadline_s=120),
    Kind("dashboard", r"ray/dashboard/dashboard\.py ", 45, weight=0.25, deadline_s=120),
    Kind("dashboard's job module", r"^ray-dashboard-JobHead", 45, weight=0.25, deadline_s=120),
    Kind("dashboard agent", r"^ray::DashboardAgent", 45, weight=0.25, deadline_s=120),
    Kind("runtime env agent", r"^ray::RuntimeEnvAgent", 45, weight=0.25, deadline_s=120),
    Kind("log monitor", r"ray/_private/log_monitor\.py ", 45, weight=0.25, deadline_s=120),
    Kind("autoscaler monitor", r"ray/autoscaler/_private/monitor\.py ", 45, weight=0.25, deadline_s=120),
    Kind("Ray client server", r"ray\.util\.client\.server ", 45, weight=0.25, deadline_s=120),
    Kind("supervisor", r"raymlops\S*supervis", 0, weight=0.5),
)


def target_of(kind: str) -> float | None:
    """The longest outage that a kind's death may cost."""
    if kind.startswith(_TREE):
        return 45.0
    return next((each.target_s for each in KINDS if each.name == kind), None)


@dataclass(frozen=True)
class Process:
    """A process that was seen; its start tells it from a later one of the same number."""

    pid: int
    started: float
    title: str

    def send(self, signal_number: int) -> bool:
        """Send a signal, where it is still the same process; whether it was."""
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            process = psutil.Process(self.pid)
            if process.create_time() == self.started:
                os.kill(self.pid, signal_number)
                return True
        return False


def members(home: Path, supervisor: re.Pattern[str]) -> list[Process]:
    """Every process of the platform in ``home``, oldest first; none of another platform, none of the harness.

    Ray's agents overwrite their environment by their title, and job drivers open sessions of their own, so a process is
    known by its session, by what it inherited, or by its parent.
    """
    note = _note(home)
    ours, found = set(_own_tree()), {}
    seen = {process.pid: process for process in psutil.process_iter()}
    for process in sorted(seen.values(), key=lambda each: each.pid):
        with contextlib.suppress(psutil.Error, ProcessLookupError, PermissionError):
            if process.status() == psutil.STATUS_ZOMBIE:
                continue
            title = " ".join(process.cmdline()).strip()
            marked = _is_marked(process, note, home, title, supervisor)
            if marked and (process.pid not in ours or _MARKER in process.environ()):
                found[process.pid] = Process(process.pid, process.create_time(), title)
    for pid, process in _descendants(found, seen):
        if pid not in found and pid not in ours:
            with contextlib.suppress(psutil.Error):
                found[pid] = Process(pid, process.create_time(), " ".join(process.cmdline()).strip())
    return sorted(found.values(), key=lambda each: each.started)


def _is_marked(
    process: psutil.Process, note: dict[str, object], home: Path, title: str, supervisor: re.Pattern[str]
) -> bool:
    if note and os.getsid(process.pid) == note.get("session_id"):
        return True
    environment = process.environ()
    if note and environment.get(_MARKER) == note.get("cluster_id"):
        return True
    named = environment.get("RAYMLOPS_HOME") == str(home) or str(home) in title
    return named and supervisor.search(title) is not None


def _note(home: Path) -> dict[str, object]:
    try:
        found: dict[str, object] = json.loads((home / "cluster.json").read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return found


def _own_tree() -> Iterator[int]:
    me = psutil.Process()
    yield me.pid
    for child in me.children(recursive=True):
        yield child.pid


def _descendants(found: dict[int, Process], seen: dict[int, psutil.Process]) -> Iterator[tuple[int, psutil.Process]]:
    children: dict[int, list[int]] = {}
    for pid, process in seen.items():
        with contextlib.suppress(psutil.Error):
            children.setdefault(process.ppid(), []).append(pid)
    waiting = list(found)
    while waiting:
        for pid in children.get(waiting.pop(), ()):
            if pid not in found:
                waiting.append(pid)
                yield pid, seen[pid]


def of_kind(kind: Kind, there: list[Process]) -> list[Process]:
    """Those of a kind."""
    pattern = re.compile(kind.pattern)
    return [process for process in there if pattern.search(process.title)]


def kinds_there(kinds: tuple[Kind, ...], there: list[Process]) -> dict[str, list[Process]]:
    """Kind -> its processes; a process is of the first kind that it fits."""
    left, found = list(there), {}
    for kind in kinds:
        found[kind.name] = of_kind(kind, left)
        taken = {process.pid for process in found[kind.name]}
        left = [process for process in left if process.pid not in taken]
    return found
