"""A planned stop: replicas hand over what they answered, then the platform goes, and nothing else."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from concurrent.futures import wait as wait_for
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

import ray
from ray import serve
from ray.exceptions import RayError
from ray.job_submission import JobStatus, JobSubmissionClient
from ray.serve.exceptions import RayServeException
from ray.util import list_named_actors

from raymlops.errors import RaymlopsError, UnavailableError
from raymlops.runtime.cluster import local_cluster as cluster
from raymlops.runtime.cluster.clients import NAMESPACE
from raymlops.runtime.cluster.names import RECONCILER
from raymlops.runtime.supervision import head
from raymlops.runtime.supervision.home_note import ClusterNote, forget_cluster, noted_cluster

__all__ = ["drain", "take_down"]

logging.getLogger("ray.serve").setLevel(logging.ERROR)  # importing it has set INFO
T = TypeVar("T")

_DRAIN_S = 20.0
"""How long all replicas together may take to hand over their prediction events."""
_CALL_S = 30.0
_OURS = ("model-", "candidate-")
_GATEWAY = "gateway"
_RUN_COMMAND = "raymlops.cli.train --run"


def take_down(home: Path, tell: Callable[[str], None] = lambda _: None) -> int:
    """Stop the platform of a home; a repeat finds nothing to do.

    Endpoints stop answering first and hand over the events of what they answered. A local cluster then ends with all
    its processes; of a cluster that somebody else started, what ``up`` put on it is taken off.

    Args:
        home: ``RAYMLOPS_HOME``.
        tell: Called with what goes wrong on the way and does not stop it.

    Returns:
        How many processes, or applications and actors, were stopped.

    Raises:
        UnavailableError: Something would not go.
    """
    note = noted_cluster(home)
    if note is None:
        return cluster.stop_local(home)
    if note.foreign:
        with _connected(note, home):
            _end_actor(RECONCILER)  # it would bring back what is taken off
            _drain_or_tell(tell)
            removed = _take_off(note)
        forget_cluster(home)
        return removed
    if {"gcs", "raylet"} <= set(head.core_processes(note)):
        try:
            with _connected(note, home):
                _end_actor(RECONCILER)  # a replica that is drained answers no more, and would be replaced
                _drain_or_tell(tell)
        except RaymlopsError as error:
            tell(f"the cluster does not answer, so that events may be lost: {error}")
    return cluster.stop_local(home)


@contextmanager
def _connected(note: ClusterNote, home: Path) -> Iterator[None]:
    """Be a driver of the cluster meanwhile."""
    before = ray.is_initialized()
    _within(_CALL_S, partial(cluster.attach, note, home), "attach to the cluster")
    try:
        yield
    finally:
        if not before or not note.foreign:
            ray.shutdown()


def _drain_or_tell(tell: Callable[[str], None]) -> None:
    try:
        waiting = drain(_DRAIN_S)
    except (RaymlopsError, RayError, RayServeException) as error:
        tell(f"some replicas did not hand over their events: {error}")
    else:
        if waiting:
            tell(f"{waiting} rows of prediction events were not handed over in time")


def drain(timeout_s: float) -> int:
    """Have every replica stop answering and hand over its prediction events.

    Returns:
        How many rows still wait.

    Raises:
        UnavailableError: A replica did not do so within ``timeout_s``.
    """
    deadline = time.monotonic() + timeout_s
    names = _within(timeout_s, _applications, "list the applications")
    left_s = max(deadline - time.monotonic(), 1.0)

    def one(name: str) -> int:
        return sum(serve.get_app_handle(name).broadcast("drain").results(timeout_s=left_s))

    futures = [_in_thread(partial(one, name)) for name in names if name.startswith("model-")]
    wait_for(futures, timeout=left_s)
    if any(not future.done() for future in futures):
        raise UnavailableError(f"replicas were not drained within {timeout_s:g} s")
    return sum(future.result() for future in futures)


def _applications() -> list[str]:
    return sorted(serve.status().applications)


def _take_off(note: ClusterNote) -> int:
    """Remove from a cluster of somebody else what ``up`` put there."""
    removed = 0
    present = _within(_CALL_S, _applications, "list the applications")
    ours = [name for name in present if name == _GATEWAY or name.startswith(_OURS)]
    for deleting in [_in_thread(partial(serve.delete, name)) for name in ours]:
        deleting.result(timeout=2 * _CALL_S)
        removed += 1
    if note.serve_started and set(present) == set(ours):
        _within(2 * _CALL_S, serve.shutdown, "shut Serve down")
    jobs = JobSubmissionClient(note.address)
    for job in _within(_CALL_S, jobs.list_jobs, "list the jobs"):
        if _RUN_COMMAND in job.entrypoint and job.status in (JobStatus.PENDING, JobStatus.RUNNING):
            _within(_CALL_S, partial(jobs.stop_job, job.submission_id), "stop a run")
            removed += 1
    for actor in list_named_actors(all_namespaces=True):
        if actor["namespace"] == NAMESPACE:
            _end_actor(actor["name"])
            removed += 1
    return removed


def _end_actor(name: str) -> None:
    """Kill a control actor for good, if it is there."""
    try:
        ray.kill(ray.get_actor(name, namespace=NAMESPACE), no_restart=True)
    except ValueError:
        return


def _in_thread(call: Callable[[], T]) -> Future[T]:
    """Call in a thread that keeps no process alive, for calls into Ray that may never return."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True, name="takedown").start()
    return future


def _within(timeout_s: float, call: Callable[[], T], what: str) -> T:
    try:
        return _in_thread(call).result(timeout=timeout_s)
    except FutureTimeout as error:
        raise UnavailableError(f"could not {what} within {timeout_s:g} s") from error
