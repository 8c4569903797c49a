"""``python -m raymlops.runtime.boot HOME``: brings the control actors and Serve up on the cluster noted in a home.

It imports what it needs, waits for a line on its input, works and ends. Its last line of output says what went wrong,
as JSON. Its parent gives it a deadline: a call into Serve that never returns ends with this process.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import ray
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException

from raymlops.config.platform import PlatformConfig
from raymlops.errors import RaymlopsError, UnavailableError
from raymlops.runtime.actors import control_plane as actors
from raymlops.runtime.actors.controller_actor import ControllerService
from raymlops.runtime.actors.monitor_actor import MonitorActor
from raymlops.runtime.actors.reconciler_actor import ReconcilerActor
from raymlops.runtime.cluster import local_cluster as cluster
from raymlops.runtime.cluster.metrics_discovery import announce_metrics, join_rays_job
from raymlops.runtime.cluster.names import CONTROLLER, FEATURES, MONITOR, RECONCILER
from raymlops.runtime.nodes.feature_nodes import FeaturesActor
from raymlops.runtime.serve.applications import Builders
from raymlops.runtime.serve.deployments import serve_runs
from raymlops.runtime.serve.gateway import gateway_replica
from raymlops.runtime.serve.replicas.model_replica import candidate_application, model_application
from raymlops.runtime.serve.replicas.pool_replica import pool_application
from raymlops.runtime.supervision.home_note import note_cluster, noted_cluster, running_config

__all__ = ["bring_up", "main"]

_log = logging.getLogger(__name__)
_TRIES = 3
_ACTORS = {  # the actors that start endpoints come first
    RECONCILER: ReconcilerActor,
    FEATURES: FeaturesActor,
    MONITOR: MonitorActor,
    CONTROLLER: ControllerService,
}
_BUILDERS = Builders(model_application, candidate_application, pool_application)


def bring_up(home: Path) -> None:
    """Start the control actors and Serve where they do not run yet, and wait until each answers.

    Raises:
        RaymlopsError: One of them did not come up.
    """
    note = noted_cluster(home)
    if note is None:
        raise UnavailableError(f"no cluster is noted in {home}")
    config = running_config(home)
    cluster.attach(note, home)
    logging.getLogger("ray.serve").setLevel(logging.ERROR)  # importing it has set INFO
    started_at = time.monotonic()
    if note.foreign and not note.serve_started and not serve_runs():
        note_cluster(home, replace(note, serve_started=True))  # before it is done: `down` must not miss it
    with ThreadPoolExecutor(2) as pool:
        planned = pool.submit(actors.start_control_plane, config, _ACTORS, _BUILDERS)
        for waiting in [planned, pool.submit(_serve, config)]:
            waiting.result()
    if note.foreign:  # Ray's own directory is not ours to write to
        announce_metrics(home, config.monitoring.metrics)
    else:
        session = Path(ray._private.worker.global_worker.node.get_session_dir_path())
        path = announce_metrics(session, config.monitoring.metrics)
        if path is not None:
            join_rays_job(session, path)
    _log.info("the control actors and Serve were up after %.1f s", time.monotonic() - started_at)


def _serve(config: PlatformConfig) -> None:
    """Start Serve, more than once where one of its actors dies on the way or is late: on a busy machine some are."""
    for left in range(_TRIES - 1, -1, -1):
        try:
            return gateway_replica.start_serving(config)
        except (RayError, RayServeException, RuntimeError, TimeoutError) as error:
            if not left:
                said = str(error).strip().splitlines() or [type(error).__name__]
                raise UnavailableError(f"Serve did not start: {said[0]}") from error
            _log.warning("Serve did not start and is started again: %s", error)


def main(home: Path) -> int:
    """Wait for the word to begin, then bring the platform up; returns the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    if not sys.stdin.readline():
        return 0  # the process that started this one is gone
    try:
        bring_up(home)
    except RaymlopsError as error:
        print(json.dumps({"error": type(error).__name__, "message": str(error)}), flush=True)  # noqa: T201 - its answer
        return 1
    return 0


if __name__ == "__main__":
    code = main(Path(sys.argv[1]))
    logging.shutdown()
    sys.stdout.flush()
    os._exit(code)  # Ray's own end of a driver takes a second, and serves no purpose here
