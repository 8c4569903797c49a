"""A planned stop: replicas hand over what they answered, then the platform goes, and nothing else."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import ray
from ray import serve
from ray.job_submission import JobStatus, JobSubmissionClient
from ray.util import list_named_actors

from raymlops.runtime.cluster import local_cluster as cluster
from raymlops.runtime.cluster.clients import NAMESPACE
from raymlops.runtime.cluster.deadlines import begin, ended, within
from raymlops.runtime.cluster.names import RECONCILER
from raymlops.runtime.serve.draining import applications, trouble_of_drain
from raymlops.runtime.supervision.home_note import ClusterNote, forget_cluster, noted_cluster
from raymlops.runtime.supervision.stopping import take_down_local

__all__ = ["take_down"]

logging.getLogger("ray.serve").setLevel(logging.ERROR)  # importing it has set INFO

_CALL_S = 30.0
_OURS = ("model-", "candidate-", "pool-")
_GATEWAY = "gateway"
_RUN_COMMAND = "raymlops.cli.train --run"


def take_down(home: Path, tell: Callable[[str], None] = lambda _: None) -> int:
    """Stop the platform of a home; a repeat finds nothing to do.

    Endpoints stop answering first and hand over the events of what they answered. A local cluster then ends with all
    its processes; from a foreign cluster, only the platform's own actors and applications are removed.

    Args:
        home: ``RAYMLOPS_HOME``.
        tell: Called with what goes wrong on the way and does not stop it.

    Returns:
        How many processes, or applications and actors, were stopped.

    Raises:
        UnavailableError: Something would not go.
    """
    note = noted_cluster(home)
    if note is None or not note.foreign:
        return take_down_local(home, tell)
    with _connected(note, home):
        _end_actor(RECONCILER)  # it would start the removed parts again
        if (trouble := trouble_of_drain()) is not None:
            tell(trouble)
        removed = _take_off(note)
    forget_cluster(home)
    return removed


@contextmanager
def _connected(note: ClusterNote, home: Path) -> Iterator[None]:
    """Be a driver of the cluster meanwhile."""
    before = ray.is_initialized()
    within(_CALL_S, "to attach to the cluster", partial(cluster.attach, note, home))
    try:
        yield
    finally:
        if not before:
            cluster.leave()


def _take_off(note: ClusterNote) -> int:
    """Remove the platform's actors and applications from a foreign cluster."""
    removed = 0
    present = within(_CALL_S, "to list the applications", applications)
    ours = [name for name in present if name == _GATEWAY or name.startswith(_OURS)]
    for name, deleting in [(name, begin(f"delete-{name}", partial(serve.delete, name))) for name in ours]:
        ended(deleting, 2 * _CALL_S, f"to delete {name}")
        removed += 1
    if note.serve_started and set(present) == set(ours):
        within(2 * _CALL_S, "to shut Serve down", serve.shutdown)
    jobs = JobSubmissionClient(note.address)
    for job in within(_CALL_S, "to list the jobs", jobs.list_jobs):
        if _RUN_COMMAND in job.entrypoint and job.status in (JobStatus.PENDING, JobStatus.RUNNING):
            within(_CALL_S, "to stop a run", partial(jobs.stop_job, job.submission_id))
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
