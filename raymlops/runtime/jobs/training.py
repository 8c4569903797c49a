"""One training run, inside its Ray Job."""

from __future__ import annotations

import logging
import os
import sys
import threading
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from raymlops.config.platform import PlatformConfig
from raymlops.delivery.verify import verify_bundle, verify_unpacked
from raymlops.errors import ConfigError, DeadlineExceeded, RaymlopsError, UnavailableError
from raymlops.metadata import Metadata
from raymlops.records.delivering.environments import environment_of_run
from raymlops.records.runs import Run, RunStatus
from raymlops.runtime.cluster import local_cluster as cluster
from raymlops.runtime.cluster.clients import metadata_stores, wake_projector
from raymlops.runtime.cluster.free_cpus import await_free_cpus
from raymlops.runtime.cluster.platform_clock import build_clock
from raymlops.runtime.jobs.bundle_definitions import bundle_project
from raymlops.runtime.jobs.parts.join_tasks import join_tasks
from raymlops.runtime.jobs.trials.trial_log import write_trials
from raymlops.runtime.jobs.trials.tuning import RayTuner
from raymlops.runtime.nodes.feature_readers import open_reader
from raymlops.runtime.supervision import head
from raymlops.runtime.supervision.home_note import noted_cluster, running_config
from raymlops.steps.project.context import TrainingContext
from raymlops.steps.training import train_project

__all__ = ["execute_run"]

_GRACE_S = 60.0
"""How long after its deadline a run may take to end by itself, before its process is ended."""
_EXIT_DEADLINE = 124


def execute_run(run_id: str) -> int:
    """Run the pipeline of a recorded run in this process, which is a driver on the cluster.

    Returns:
        The process's exit code: 0 where the run ended with an outcome, a refusal included.
    """
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(asctime)s %(name)s %(message)s")
    home = Path(os.environ["RAYMLOPS_HOME"])
    config = running_config(home)
    note = noted_cluster(home)
    if note is None:
        raise UnavailableError(f"no cluster is noted in {home}")
    cluster.attach(note, home)
    metadata = metadata_stores(config.cluster.call_timeout.total_seconds())
    run = metadata.runs.get_run(run_id)
    deadline_s = config.cluster.run_deadline.total_seconds()
    watchdog = threading.Timer(deadline_s + _GRACE_S, partial(_end, config, metadata, run_id, deadline_s))
    watchdog.daemon = True
    watchdog.start()
    try:
        bundle = _require_bundle(config, run)
        _require_resources(config)
        result = _train(config, metadata, run, bundle, deadline_s)
    except RaymlopsError as error:
        _fail(config, metadata, run_id, error)
        logging.exception("run %s failed", run_id)
        return 1
    finally:
        watchdog.cancel()
    write_trials(home, run_id, result["trials"])
    logging.info("run %s: %s: %s", run_id, result["outcome"], result["reason"])
    wake_projector()
    return 0


def _require_bundle(config: PlatformConfig, run: Run) -> str:
    """Refuse to run anything but the bundle: what Ray unpacked is checked before any of it is imported.

    Returns:
        The bundle's digest.

    Raises:
        ConfigError: The run names no bundle.
        DeploymentError: The bundle, or a file in the working directory, was altered.
    """
    if run.bundle is None:
        raise ConfigError(f"run {run.id} names no bundle to run from")
    manifest = verify_bundle(config.home / "bundles" / run.bundle)
    verify_unpacked(Path.cwd(), manifest)
    return manifest.digest


def _require_resources(config: PlatformConfig) -> None:
    """Refuse to start where the run could not end.

    Raises:
        ConfigError: The home cannot be written, or its disk is nearly full.
        UnavailableError: No CPU gets free in time.
    """
    head.require_disk(config.home)
    await_free_cpus(config.cluster.trial_cpus, config.cluster.free_cpus_timeout.total_seconds())


def _end(config: PlatformConfig, metadata: Metadata, run_id: str, deadline_s: float) -> None:
    """End a process that hangs in compiled code, where no deadline interrupts it; its trials end with it."""
    error = DeadlineExceeded(f"run {run_id!r} exceeded its deadline of {deadline_s:g} s and did not end by itself")
    try:
        _fail(config, metadata, run_id, error)
    finally:
        os._exit(_EXIT_DEADLINE)


def _train(config: PlatformConfig, metadata: Metadata, run: Run, bundle: str, deadline_s: float) -> dict[str, Any]:
    work = config.home / "runs" / run.id
    timeout_s = config.cluster.free_cpus_timeout.total_seconds()
    clock = build_clock(config)
    spec = metadata.deployments.get_bundle(bundle).project
    environment = environment_of_run(spec, run.pipeline)
    with closing(open_reader(config, environment, clock=clock, join_tasks=join_tasks(config))) as reader:
        context = TrainingContext(
            home=config.home,
            reader=reader,
            metadata=metadata,
            tuner=RayTuner(work / "tune", free_cpus_timeout_s=timeout_s, cpus_per_trial=config.cluster.trial_cpus),
            clock=clock,
            project=bundle_project(spec, run.pipeline),
            run_id=run.id,
            work=work,
            bundle=bundle,
            features=config.feature_place(environment).root,
            environment=environment,
            storage_options=config.features.storage_options,
        )
        resumed = run.parameters.get("resume_of")
        overrides = {name: value for name, value in run.parameters.items() if name != "resume_of"}
        return train_project(context, overrides, reason=run.reason, resume_of=resumed, deadline_s=deadline_s)


def _fail(config: PlatformConfig, metadata: Metadata, run_id: str, error: RaymlopsError) -> None:
    """Record a failure that came before the pipeline could record it."""
    if not metadata.runs.get_run(run_id).status.final:
        now = build_clock(config).now()
        message = f"{type(error).__name__}: {error}"
        metadata.runs.update_run(run_id, status=RunStatus.FAILED, error=message, ended_at=now)
