"""Training on a Delta table that does not fit in memory: Ray Data reads it, XGBoost keeps it binned on disk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import ray
from ray.data import DataContext, Dataset
from ray.exceptions import RayError, RayTaskError

from raymlops.errors import SchemaMismatch, UnavailableError
from raymlops.experiments.streamed import Boosting, RowSource, Slice, evaluate_streamed, fit_streamed
from raymlops.experiments.task import FloatArray, example_of, is_numeric, with_texts
from raymlops.features import FeatureReader
from raymlops.features.offline.large_tables.bucketed_tables import BlockedTable
from raymlops.flavors.frames import is_frame
from raymlops.flavors.xgboost import asked_of
from raymlops.records.learning.tasks import LearningTask
from raymlops.records.models import ModelVersion
from raymlops.records.names import check_name
from raymlops.runtime.cluster.clients import domain_error
from raymlops.runtime.cluster.free_cpus import await_free_cpus
from raymlops.runtime.jobs.operators import ModelOperator
from raymlops.runtime.nodes.file_places import ANYWHERE, Place, place_for

__all__ = ["DatasetRows", "StreamedTraining"]

_BATCH_ROWS = 1 << 19
_SAMPLE_ROWS = 100_000
"""Rows, spread over the table, that the model's drift reference is made of."""
_EXAMPLE_ROWS = 20


class DatasetRows:
    """Blocks of a table as a ``RowSource``, read by Ray Data and streamed to this process in their order.

    At most a few blocks are in the object store at a time, and one batch in this process.

    Args:
        table: The table to read.
        free_cpus_timeout_s: How long a reading may wait for its first CPU.
        place: The nodes that have the table.
    """

    def __init__(self, table: BlockedTable, *, free_cpus_timeout_s: float = 60.0, place: Place = ANYWHERE) -> None:
        self._table = table
        self._place = place
        self._timeout_s = free_cpus_timeout_s
        self._readings: list[Any] = []

    def close(self) -> None:
        """Give back the CPUs of readings that were broken off; an error may hold them in its traceback."""
        for reading in self._readings:
            reading.close()
        self._readings.clear()

    def batches(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        yield self._table.schema.empty_table().select(list(columns))
        if not self._table.blocks:
            return
        await_free_cpus(1.0, self._timeout_s, self._place.node)
        reading = iter(
            self._dataset(columns).iter_batches(batch_size=_BATCH_ROWS, batch_format="pyarrow", prefetch_batches=1)
        )
        self._readings.append(reading)
        try:
            yield from reading
        except RayTaskError as error:
            raise domain_error(error) from error
        except RayError as error:
            raise UnavailableError(f"a block of the table could not be read: {error}") from error

    def _dataset(self, columns: Sequence[str]) -> Dataset:
        context = DataContext.get_current().copy()
        context.execution_options.preserve_order = True
        context.enable_progress_bars = False
        blocks = list(self._table.blocks)
        with DataContext.current(context):
            places = ray.data.range(len(blocks), override_num_blocks=len(blocks))
            return places.map_batches(
                _read,
                batch_size=1,
                batch_format="numpy",
                fn_kwargs={"blocks": ray.put(blocks), "columns": list(columns)},
                zero_copy_batch=True,
                label_selector=self._place.labels,
            )


def _read(batch: Mapping[str, Any], blocks: Any, columns: list[str]) -> Iterator[pa.Table]:
    held = ray.get(blocks) if isinstance(blocks, ray.ObjectRef) else blocks
    for place in batch["id"].tolist():
        yield from held[place].batches(columns)


class StreamedTraining:
    """Fits, judges and registers boosted trees on a view's table, whatever its size.

    Args:
        reader: Reads the feature store.
        models: Registers.
        work: Directory for the pages: one byte per row and input.
        free_cpus_timeout_s: How long to wait for a free CPU.
    """

    def __init__(
        self, reader: FeatureReader, models: ModelOperator, work: Path, *, free_cpus_timeout_s: float = 60.0
    ) -> None:
        self._reader = reader
        self._models = models
        self._work = work
        self._timeout_s = free_cpus_timeout_s

    def train(
        self,
        name: str,
        view: str,
        task: LearningTask,
        boosting: Boosting,
        *,
        version: int | None = None,
        test_from: datetime | None = None,
    ) -> ModelVersion:
        """Train on a version of a view's table and register the model, in this process.

        Args:
            name: The model.
            view: ``NAME`` or ``NAME@VERSION``; its columns hold inputs and label.
            task: The learning task; rows without a label are left out.
            boosting: How.
            version: Version of the table; ``None``: the newest.
            test_from: Rows from this instant on are not learned from but judged on; ``None``: all are learned from.

        Returns:
            The version, with metrics ``train_*`` and, where there are test rows, ``test_*``.

        Raises:
            ConfigError: The model has no proper name.
            RaymlopsError: As ``fit_streamed``, the reading of the table, and ``register`` do.
        """
        check_name("model", name)
        table, version, blocks = self._reader.blocks(view, version)
        _check_columns(view, blocks.schema, task)
        place = place_for([self._reader.root])
        with closing(DatasetRows(blocks, free_cpus_timeout_s=self._timeout_s, place=place)) as rows:
            learned = Slice(rows, task.label, end=test_from)
            self._work.mkdir(parents=True, exist_ok=True)
            booster = fit_streamed(learned, task, boosting, cache=self._work)
            metrics = self._judge(booster, learned, task, "train")
            if test_from is not None:
                metrics |= self._judge(booster, Slice(rows, task.label, start=test_from), task, "test")
            sample = example_of(_sample(learned, task.inputs, int(metrics["train_rows"])), task)
        return self._models.register(
            name,
            booster,
            sample.slice(0, _EXAMPLE_ROWS),
            metrics,
            None,
            reference_rows=sample,
            table_versions={table: version},
        )

    def _judge(self, booster: Any, rows: RowSource, task: LearningTask, part: str) -> dict[str, float]:
        def score(inputs: Any) -> FloatArray:
            given = asked_of(booster, inputs) if is_frame(inputs) else inputs.astype(np.float32)
            raw: FloatArray = booster.inplace_predict(given, validate_features=False).astype(np.float64)
            return np.column_stack([1.0 - raw, raw]) if task.binary else raw

        return {f"{part}_{name}": value for name, value in evaluate_streamed(score, rows, task).items()}


def _check_columns(view: str, schema: pa.Schema, task: LearningTask) -> None:
    present = set(schema.names)
    absent = [name for name in (*task.inputs, task.label) if name not in present]
    if absent:
        raise SchemaMismatch(f"view {view!r} has no columns {absent}, only {schema.names}", columns=absent)
    with_texts(task, schema)  # raises where an input has a type that models do not take
    held = schema.field(task.label).type
    if not is_numeric(held):
        raise SchemaMismatch(f"label {task.label!r} of view {view!r} must be a number, got {held}", column=task.label)


def _sample(rows: RowSource, inputs: Sequence[str], count: int) -> pa.Table:
    """Every so many-th row, in order, so that there are at most some 100,000."""
    step = -(-count // _SAMPLE_ROWS)
    parts, seen = [], 0
    for batch in rows.batches(list(inputs)):
        first = -seen % step
        parts.append(batch.take(pa.array(np.arange(first, batch.num_rows, step))))
        seen += batch.num_rows
    return pa.concat_tables(parts).combine_chunks()
