"""Parts scored on the cluster: a Ray Data pipeline whose rows are parts."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import closing

import pyarrow as pa
import ray
from ray import cloudpickle
from ray.data.exceptions import ExecutionTimeoutError
from ray.exceptions import GetTimeoutError, RayActorError
from ray.util.annotations import RayDeprecationWarning

from raymlops.config.platform import PlatformConfig
from raymlops.errors import RaymlopsError, UnavailableError
from raymlops.records.scoring import Part, PartReceipt
from raymlops.runtime.cluster.free_cpus import await_free_cpus
from raymlops.runtime.cluster.niceness import give_way
from raymlops.runtime.jobs.join_tasks import join_tasks
from raymlops.scoring.opening import ScorerSetting, open_scorer

__all__ = ["score_on_cluster"]

_RESTARTS = 2
"""A worker that dies is started again so often; one that its model kills each time must not go on for ever."""


class _Worker:
    """Scores parts one by one. What it reads and writes passes through no other process."""

    def __init__(self, setting: ScorerSetting, config: PlatformConfig, as_tasks: bool) -> None:
        give_way()
        self._scorer = open_scorer(setting, join_tasks(config.features) if as_tasks else None)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """One row per part: its receipt, or why there is none, which Ray Data would tell without its class."""
        receipts: list[str | None] = []
        errors: list[bytes | None] = []
        for text in batch["part"].to_pylist():
            receipt, refusal = None, None
            try:
                receipt = self._scorer.score(Part.model_validate_json(text)).model_dump_json()
            except RaymlopsError as error:
                refusal = cloudpickle.dumps(error)
            receipts.append(receipt)
            errors.append(refusal)
        return pa.table({"receipt": pa.array(receipts, pa.string()), "error": pa.array(errors, pa.binary())})


def score_on_cluster(
    setting: ScorerSetting, config: PlatformConfig, parts: Sequence[Part], *, as_tasks: bool
) -> Iterator[PartReceipt]:
    """Score parts by as many workers as CPUs are free, and tell of each as soon as it is done.

    Args:
        setting: What the workers open.
        config: The platform's configuration.
        parts: To be scored.
        as_tasks: Features are joined by tasks: these take the CPUs, so one worker hands out the work and takes none.

    Raises:
        UnavailableError: No CPU got free in time, nothing went on for too long, or workers died again and again.
        RaymlopsError: As ``PartScorer.score`` does.
    """
    timeout_s = config.cluster.free_cpus_timeout.total_seconds()
    free = int(await_free_cpus(1.0, timeout_s))
    workers = 1 if as_tasks else min(config.batch.workers or free, free, len(parts))
    dataset = ray.data.from_items([{"part": part.model_dump_json()} for part in parts], override_num_blocks=len(parts))
    context = dataset.context
    context.enable_progress_bars = False
    context.wait_for_min_actors_s = int(timeout_s)
    context.execution_no_progress_timeout_s = int(config.batch.no_progress_timeout.total_seconds())
    with warnings.catch_warnings():
        # Ray 2.60 means to name the two limits by 2.64; until then this is the only way to give them
        warnings.simplefilter("ignore", RayDeprecationWarning)
        scored = dataset.map_batches(
            _Worker,
            batch_size=1,
            batch_format="pyarrow",
            concurrency=workers,
            num_cpus=0.0 if as_tasks else 1.0,
            fn_constructor_args=(setting, config, as_tasks),
            max_restarts=_RESTARTS,
            max_task_retries=_RESTARTS,
        )
    found = iter(scored.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0))
    try:
        # closed at once where a part cannot be scored: the workers would hold their CPUs until the garbage is collected
        with closing(found):
            for batch in found:
                for row in batch.to_pylist():
                    if row["error"] is not None:
                        raise cloudpickle.loads(row["error"])
                    yield PartReceipt.model_validate_json(row["receipt"])
    except (RayActorError, ExecutionTimeoutError, GetTimeoutError) as error:
        raise UnavailableError(f"the parts could not be scored: {' '.join(str(error).split())[:2000]}") from error
