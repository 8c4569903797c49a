"""Scores one part: rows in, predictions out, files that are part of no table yet."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from raymlops.errors import DataError, DeploymentError, NotFinite, SchemaMismatch, StorageError
from raymlops.flavors.guard import foreign_errors
from raymlops.flavors.protocol import Outputs
from raymlops.monitoring.profiles.profile import Profile
from raymlops.monitoring.profiles.reference import Reference
from raymlops.records.record import sha256_of
from raymlops.records.scoring import Part, PartReceipt, ScoredFile, ScoringPlan
from raymlops.scoring.carried import carried_as, carried_schema
from raymlops.scoring.inputs import Columns, FeatureJoin, needed_columns, typed_inputs
from raymlops.scoring.sources import RowSource
from raymlops.serving.models.arrow_inputs import datatype_of_arrow
from raymlops.serving.models.model import Model
from raymlops.serving.models.outputs import check_outputs
from raymlops.serving.protocol.schema import InputSchema, datatype_of_label
from raymlops.tables.files import Files

__all__ = ["ROW", "PartScorer", "Scorer", "files_of", "output_columns"]

ROW = "_row"
"""Place of the row in the source: what tells rows apart that are equal in all else."""
_VERSION = "model_version"
_LABEL_TYPES = {"BOOL": pa.bool_(), "INT64": pa.int64(), "FP64": pa.float64(), "BYTES": pa.string()}


class Scorer(Protocol):
    """Scores parts, wherever that runs."""

    def score(self, part: Part) -> PartReceipt:
        """Score a part; the same part gives the same files, so that doing it twice does no harm."""
        ...


def output_columns(schema: InputSchema) -> pa.Schema:
    """What a model's predictions add to the rows."""
    signature = schema.signature
    if signature.task == "regressor":
        predicted = [pa.field("prediction", pa.float64(), nullable=False)]
    else:
        predicted = [
            pa.field("prediction", _LABEL_TYPES[datatype_of_label(signature)], nullable=False),
            pa.field("probability", pa.list_(pa.float64()), nullable=False),
        ]
    fixed = [pa.field(_VERSION, pa.int32(), nullable=False), pa.field(ROW, pa.int64(), nullable=False)]
    return pa.schema([*predicted, *fixed])


class PartScorer:
    """``Scorer`` in this process. Holds one block of rows at a time.

    Args:
        plan: What is scored, and how.
        source: Its rows.
        model: Verified and warm.
        join: Joins the features, where the model takes any.
        reference: Of the version; ``None``: nothing is profiled.
        files: Of the output.

    Raises:
        SchemaMismatch: The source lacks columns, the output would have two of one name, or a column to carry over is of
            a type that Delta tables lack.
        DataError: A model input is of another kind.
    """

    def __init__(
        self,
        plan: ScoringPlan,
        source: RowSource,
        model: Model,
        join: FeatureJoin | None,
        reference: Reference | None,
        files: Files,
    ) -> None:
        self._plan = plan
        self._source = source
        self._model = model
        self._join = join
        self._reference = reference
        self._files = files
        needed = needed_columns(model.schema, join)
        check_source(plan, source.schema, needed, model.schema)
        self._read = tuple(dict.fromkeys([*needed, *plan.columns]))
        own = output_columns(model.schema)
        self._schema = pa.schema([*carried_schema(plan.source.name, source.schema, plan.columns, own.names), *own])

    @property
    def schema(self) -> pa.Schema:
        """Columns of the output."""
        return self._schema

    def profile(self, part: Part, rows: int) -> Profile | None:
        """Profile the first ``rows`` rows of a part, predicting them too, and write nothing.

        Raises:
            DataError: The model refuses them.
            DeploymentError: It fails, or answers something else than its signature says.
        """
        found: Profile | None = None
        for first, block in self._blocks(part):
            taken = block.slice(0, rows)
            inputs = self._inputs(first, taken)
            self._scored(first, taken, inputs)
            counted = self._count(inputs)
            found = counted if found is None or counted is None else found + counted
            rows -= block.num_rows
            if rows <= 0:
                break
        return found

    def check_carried(self, parts: Sequence[Part]) -> None:
        """Look at all values that may not fit the output; columns whose type says that they do are not read.

        Raises:
            DataError: One does not; the message names column and rows.
        """
        finer = self._source.finer()
        doubtful = [name for name in self._plan.columns if name in finer]
        for part in parts if doubtful else ():
            first = part.first_row
            for block in self._source.blocks(part, doubtful, self._plan.block_rows):
                self._carried(first, block, doubtful)
                first += block.num_rows

    def score(self, part: Part) -> PartReceipt:
        files: list[ScoredFile] = []
        profile: Profile | None = None
        for first, block in self._blocks(part):
            inputs = self._inputs(first, block)
            counted = self._count(inputs)
            profile = counted if profile is None or counted is None else profile + counted
            files.append(self._write(part, len(files), self._scored(first, block, inputs)))
        content = None if profile is None else b64encode(profile.dumps()).decode()
        return PartReceipt(part=part.number, rows=part.rows, files=tuple(files), profile=content)

    def _blocks(self, part: Part) -> Iterator[tuple[int, pa.Table]]:
        """Blocks with the place of their first row; small row groups are read together."""
        first = part.first_row
        waiting: list[pa.Table] = []
        for block in self._source.blocks(part, self._read, self._plan.block_rows):
            if waiting and sum(each.num_rows for each in waiting) + block.num_rows > self._plan.block_rows:
                joined = pa.concat_tables(waiting)
                yield first, joined
                first += joined.num_rows
                waiting = []
            waiting.append(block)
        if waiting:
            yield first, pa.concat_tables(waiting)

    def _inputs(self, first: int, block: pa.Table) -> Columns:
        try:
            features = None if self._join is None else self._join.join(block)
            return typed_inputs(block, features, self._model.schema)
        except SchemaMismatch:
            raise
        except DataError as error:
            raise _placed(error, first, block.num_rows) from error

    def _scored(self, first: int, block: pa.Table, inputs: Columns) -> pa.Table:
        """The rows of a block with the model's answers.

        Raises:
            DataError: The model refuses a row, which the message names.
            DeploymentError: The model raises something of its own, or answers something else than its signature says.
        """
        rows = block.num_rows
        try:
            with foreign_errors(f"rows {first} to {first + rows - 1}: the model failed", DeploymentError):
                outputs = self._model.predict(inputs)
            with suppress(NotFinite):  # a number that is missing is written as such
                check_outputs(outputs, rows)
        except DataError as error:
            place = _first_bad(inputs)
            where = f"rows from {first}" if place is None else f"row {first + place}"
            raise DataError(f"{where}: {error}", **error.context) from error
        return self._table(first, block, outputs)

    def _count(self, inputs: Columns) -> Profile | None:
        if self._reference is None:
            return None
        texts = self._model.schema.texts
        arrays = {
            name: pa.array(values, pa.string())
            if name in texts
            else pa.array(values.astype(np.float64), from_pandas=True)
            for name, values in inputs.items()
        }
        return self._reference.profile(pa.table(arrays))

    def _table(self, first: int, block: pa.Table, outputs: Outputs) -> pa.Table:
        rows = block.num_rows
        arrays: list[Any] = self._carried(first, block, self._plan.columns)
        if "value" in outputs:
            arrays.append(pa.array(outputs["value"], pa.float64()))
        else:
            probability = np.ascontiguousarray(outputs["probability"])
            offsets = np.arange(0, probability.size + 1, probability.shape[1], dtype=np.int32)
            arrays.append(pa.array(outputs["label"], self._schema.field("prediction").type))
            arrays.append(pa.ListArray.from_arrays(pa.array(offsets), pa.array(probability.ravel())))
        arrays.append(pa.repeat(pa.scalar(self._plan.version, pa.int32()), rows))
        arrays.append(pa.array(np.arange(first, first + rows, dtype=np.int64)))
        return pa.Table.from_arrays(arrays, schema=self._schema)

    def _carried(self, first: int, block: pa.Table, names: Sequence[str]) -> list[pa.ChunkedArray]:
        try:
            return [carried_as(name, block[name], self._schema.field(name).type) for name in names]
        except DataError as error:
            raise _placed(error, first, block.num_rows) from error

    def _write(self, part: Part, number: int, scored: pa.Table) -> ScoredFile:
        sink = pa.BufferOutputStream()
        parquet.write_table(scored, sink, compression="zstd")
        content = sink.getvalue()
        digest = hashlib.sha256(content).hexdigest()[:16]
        path = f"{files_of(self._plan)}{part.number:06d}-{number:04d}-{digest}.parquet"
        try:
            self._files.write(path, memoryview(content))
        except OSError as error:
            raise StorageError(f"{self._files.uri(path)} cannot be written: {error}", path=path) from error
        return ScoredFile(path=path, rows=scored.num_rows, size_bytes=content.size)


def files_of(plan: ScoringPlan) -> str:
    """What the names of a job's files begin with."""
    return f"part-{sha256_of(plan)[:16]}-"


def check_source(plan: ScoringPlan, rows: pa.Schema, needed: Sequence[str], schema: InputSchema) -> None:
    """Refuse rows that do not fit the model or the output, before any is read.

    Raises:
        SchemaMismatch: Columns are missing.
        DataError: A model input is of another kind.
    """
    name = plan.source.name
    missing = [column for column in [*needed, *plan.columns] if column not in rows.names]
    if missing:
        raise SchemaMismatch(f"{name}: columns {missing} are missing, it has {rows.names}", columns=missing)
    for column in schema.names:
        if column in needed:
            schema.check_column(column, datatype_of_arrow(column, rows.field(column).type), np.empty(0))


def _placed(error: DataError, first: int, rows: int) -> DataError:
    return DataError(f"rows {first} to {first + rows - 1}: {error}", **error.context)


def _first_bad(inputs: Columns) -> int | None:
    """Place of the first row with a number that no model takes."""
    largest = float(np.finfo(np.float32).max)
    bad = [np.flatnonzero(np.abs(values) > largest) for values in inputs.values() if values.dtype != object]
    places = [int(found[0]) for found in bad if len(found)]
    return min(places, default=None)
