"""Batch scoring on this platform: from names to a plan, from a plan to rows in a table."""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypedDict, Unpack

from ray._private.runtime_env.constants import RAY_JOB_CONFIG_JSON_ENV_VAR

from raymlops.clock import Clock
from raymlops.config.platform import PlatformConfig
from raymlops.errors import ConfigError, NotFoundError
from raymlops.features.catalog.applied import ResolvedService
from raymlops.features.catalog.layout import tables_path
from raymlops.features.offline.feature_files import FeatureFiles
from raymlops.metadata import Metadata
from raymlops.monitoring.profiles.profile import Profile
from raymlops.monitoring.profiles.reference import Reference
from raymlops.records.models import ModelVersion
from raymlops.records.names import check_label
from raymlops.records.runs import Run
from raymlops.records.scoring import OutputMode, Part, PartReceipt, ScoringCheck, ScoringPlan, ScoringReceipt, Source
from raymlops.records.shown import Listed
from raymlops.runtime.cluster.progress import progress
from raymlops.runtime.jobs.parts.join_tasks import join_tasks
from raymlops.runtime.jobs.parts.part_tasks import part_tasks
from raymlops.runtime.jobs.parts.part_workers import score_on_cluster
from raymlops.scoring.csv_files import typed_copy
from raymlops.scoring.job import PIPELINE, ScoringJob
from raymlops.scoring.opening import ScorerSetting, open_scorer
from raymlops.scoring.output import OutputTable
from raymlops.scoring.sources import (
    RowSource,
    cut_parts,
    delta_source,
    file_source,
    find_source,
    is_delta,
    split_version,
)
from raymlops.scoring.state import job_directory
from raymlops.scoring.table_profiles import FittingOptions, TableRows, fit_reference, profile_table
from raymlops.scoring.validation import find_reference
from raymlops.tables.columns import SEQUENCE
from raymlops.tables.delta import DeltaTables
from raymlops.tables.files import child, parse_root

__all__ = ["BatchOperator", "ScoringOptions"]

_VIEW = "view:"


class ScoringOptions(TypedDict, total=False):
    """How rows are scored; what is left out is as the values of ``_Request`` say."""

    version: int | None
    """Of the model; ``None``: the champion."""
    features: str | None
    """Feature service; ``None``: the one the version was trained on, or is served with."""
    at: datetime | None
    """The instant that features are joined as of; ``None``: each row's ``event_time``."""
    columns: Sequence[str] | None
    """Of the source, to carry over; ``None``: all."""
    mode: OutputMode
    """The treatment of an output that exists: an error, append, or overwrite."""


@dataclass(frozen=True)
class _Request:
    """A user's order: the arguments of ``BatchOperator.score``."""

    model: str
    source: str
    output: str
    version: int | None = None
    features: str | None = None
    at: datetime | None = None
    columns: Sequence[str] | None = None
    mode: OutputMode = "create"


class BatchOperator:
    """Scores tables with registered versions.

    Args:
        config: The platform's configuration.
        metadata: Versions, runs, artifacts and the ledger.
        clock: Dates the records.
    """

    def __init__(self, config: PlatformConfig, metadata: Metadata, clock: Clock) -> None:
        self._config = config
        self._metadata = metadata
        self._clock = clock
        self._options = config.features.storage_options

    def score(
        self, model: str, source: Path | str, output: Path | str, **options: Unpack[ScoringOptions]
    ) -> ScoringReceipt:
        """Predict every row of a table, and write a Delta table that holds all of them, or nothing.

        The same call again goes on where the last one was cut off, or finds that all is done.

        Args:
            model: Name of the model.
            source: A Parquet or CSV file, a directory of such, a Delta table, or ``view:NAME``; with ``@v12`` behind
                one of the last two, version 12 of the table, else the newest.
            output: Directory or URI of the table: the source's columns, ``prediction``, a classifier's ``probability``,
                ``model_version``, and ``_row``, the row's place in the source.
            options: ``version``, ``features``, ``at``, ``columns`` and ``mode``, as in ``ScoringOptions``.

        Raises:
            NotFoundError: There is no such version, view, table or table version.
            SchemaMismatch: Columns are missing, or the output has others.
            AlreadyRegistered: The output is there, and ``mode`` is ``create``.
            DataError: The rows are broken or do not fit the model: nothing was written; the message says how.
            DeploymentError: The model fails, or answers something else than its signature says.
            ModelLoadFailed: The version's files are not what was registered.
            ConflictError: Another process is at work on this very job.
            UnavailableError: No CPU got free in time, or the workers died again and again.
        """
        job, setting, version, as_tasks = self._job(_Request(model, str(source), str(output), **options))

        def scored(parts: Sequence[Part]) -> Generator[PartReceipt, None, None]:
            scoring = score_on_cluster(setting, version, self._config, parts, as_tasks=as_tasks)
            with closing(scoring), progress(f"scoring by {model}", len(parts)) as tell:
                for done, receipt in enumerate(scoring, 1):
                    tell(done, "")
                    yield receipt

        return job.run(scored)

    def check(
        self, model: str, source: Path | str, output: Path | str, **options: Unpack[ScoringOptions]
    ) -> ScoringCheck:
        """The plan that ``score`` would carry out, and a validation of a sample of the rows; nothing is written."""
        job, *_ = self._job(_Request(model, str(source), str(output), **options))
        found = job.check()
        rows = sum(part.rows for part in job.parts)
        return ScoringCheck(
            plan=job.plan, rows=rows, parts=len(job.parts), verdict=found.verdict, reasons=found.reasons
        )

    def fit_reference(self, source: Path | str, **options: Unpack[FittingOptions]) -> Reference:
        """A reference of the columns of a table, for comparison with windows; the table need not fit in memory.

        Args:
            source: A Parquet file, or what such files lie below, or a Delta table, with ``@v12`` behind it at version
                12; on this machine or in an object store.
            options: ``columns``, ``event_time``, ``window``, ``importances``, ``sample_rows``, as for
                ``raymlops.scoring.table_profiles.fit_reference``.

        Raises:
            NotFoundError, ConfigError: There is no such table.
            NotEnoughRows: It is empty.
            SchemaMismatch: It lacks a column.
            DataError: A file is broken.
            UnavailableError: The tasks could not be completed in time.
        """
        table = self._table(source)
        with part_tasks(self._config, table.source.uri) as each_part:
            return fit_reference(table, each_part, **options)

    def profile(self, source: Path | str, reference: Reference, *, sketched: bool = False) -> Profile:
        """The rows of a table, counted on the bins of a reference; the table need not fit in memory.

        Args:
            source: As for ``fit_reference``.
            reference: Of a model version, or fitted; ``reference.compare(profile)`` judges.
            sketched: Whether quantiles and distinct counts are sketched too.

        Raises:
            RaymlopsError: As ``fit_reference``.
        """
        table = self._table(source)
        with part_tasks(self._config, table.source.uri) as each_part:
            return profile_table(table, reference, each_part, sketched=sketched)

    def _table(self, source: Path | str) -> TableRows:
        found = find_source(str(source), self._options)
        parts = cut_parts(RowSource(found, self._options).row_groups(), self._config.batch.part_rows)
        return TableRows(found, parts, self._config.batch.block_rows, self._options)

    def list(self, model: str | None = None, version: int | None = None) -> Listed[Run]:
        """Batch jobs, newest first, of one model, of one of its versions, or of all."""
        return Listed(
            run
            for run in self._metadata.runs.list_runs(PIPELINE)
            if model in (None, run.parameters["model"]) and version in (None, run.parameters["version"])
        )

    def _job(self, request: _Request) -> tuple[ScoringJob, ScorerSetting, ModelVersion, bool]:
        model = self._metadata.models.get_version(request.model, self._version(request))
        files = FeatureFiles.at(self._config.feature_place(model.environment))
        service = self._service(request, model, files)
        plan = self._plan(request, model, service, files)
        rows = _table_rows(service, plan, files.tables) + plan.block_rows
        as_tasks = rows >= self._config.features.join_tasks_from_rows
        if as_tasks:
            plan = plan.model_copy(update={"block_rows": self._config.batch.joined_block_rows})
        directory = job_directory(self._config.home, plan)
        plan = directory.adopted(plan)
        place = Path(model.path)
        reference = find_reference(place, [column.name for column in model.manifest.signature.inputs])
        setting = ScorerSetting(plan, place, model.manifest, files.root, self._options, reference)
        job = ScoringJob(
            plan=plan,
            parts=cut_parts(RowSource(plan.source, self._options).row_groups(), plan.part_rows),
            scorer=open_scorer(setting, join_tasks(self._config) if as_tasks else None),
            output=OutputTable(plan.output, self._options),
            directory=directory,
            reference=reference,
            journal=self._metadata,
            config=self._config.monitoring,
            clock=self._clock,
            model_uri=model.path,
        )
        return job, setting, model, as_tasks

    def _version(self, request: _Request) -> int:
        if request.version is not None:
            return request.version
        plan = self._metadata.plans.find_plan(request.model)
        if plan is None or not plan.served:
            raise NotFoundError(f"model {request.model!r} has no champion: name the version", model=request.model)
        return plan.champion

    def _plan(
        self, request: _Request, model: ModelVersion, service: ResolvedService | None, files: FeatureFiles
    ) -> ScoringPlan:
        source = self._source(request, model, service, files)
        there = RowSource(source, self._options).schema.names
        columns = [name for name in there if name != SEQUENCE] if request.columns is None else list(request.columns)
        versions = {} if service is None else {view.table: files.tables.version(view.table) for view in service.views}
        check_label("output", request.output, longest=4000)
        output = _output(request.output)
        return ScoringPlan(
            model=model.name,
            version=model.version,
            digest=model.digest,
            source=source,
            service=None if service is None else service.service.ref,
            table_versions=versions,
            at=request.at,
            columns=tuple(columns),
            output=str(output.absolute() if isinstance(output, Path) else output),
            mode=request.mode,
            part_rows=self._config.batch.part_rows,
            block_rows=self._config.batch.block_rows,
        )

    def _source(
        self, request: _Request, model: ModelVersion, service: ResolvedService | None, files: FeatureFiles
    ) -> Source:
        named, version = split_version(request.source)
        if named.startswith(_VIEW):
            state = files.state()
            view = state.view(named.removeprefix(_VIEW))
            uri = str(child(tables_path(files.root), state.table_of(view)))
            return delta_source(uri, version, f"view {view.ref}", self._options)
        root = parse_root(named)
        if not isinstance(root, Path) or is_delta(root) or version is not None:
            return find_source(request.source, self._options)
        copies = self._config.home / "batch" / "typed"
        typed = typed_copy(root, model.manifest.signature, copies, keys=_key_types(service, files.tables))
        return file_source(root, request.source) if typed is None else file_source(typed, request.source)

    def _service(self, request: _Request, model: ModelVersion, files: FeatureFiles) -> ResolvedService | None:
        """The service that was asked for, or that the version was trained on, or that it is served with."""
        name = request.features
        if name is None and model.training_set is not None:
            name = files.training_sets.manifest(model.training_set).service
        if name is None:
            plan = self._metadata.plans.find_plan(model.name)
            name = None if plan is None else plan.service
        return None if name is None else files.state().resolve(name)


def _key_types(service: ResolvedService | None, tables: DeltaTables) -> dict[str, Any]:
    """Columns that hold keys of views, and their types in the views' tables."""
    return {
        column: tables.schema(resolved.table).field(key).type
        for resolved in (service.views if service is not None else ())
        for key, column in zip(resolved.view.keys, resolved.view.join_columns, strict=True)
    }


def _table_rows(service: ResolvedService | None, plan: ScoringPlan, tables: DeltaTables) -> int:
    """How many rows the join reads at most; the tables' logs tell, no row is read."""
    rows = 0
    for table in {view.table for view in service.views} if service is not None else ():
        with tables.opened(table, plan.table_versions[table]) as handle:
            rows += int(handle.count())
    return rows


def _output(named: str) -> Path | str:
    """The directory of the scored table.

    Raises:
        ConfigError: The path is relative, and this is a Ray job. Such a job never runs where it was submitted, but in
            a copy of the working directory, which is removed later, or where `up` was typed.
    """
    output = parse_root(named)
    if RAY_JOB_CONFIG_JSON_ENV_VAR in os.environ and isinstance(output, Path) and not output.is_absolute():
        raise ConfigError(f"the output must be an absolute path or a URI in a Ray job, got {named!r}", output=named)
    return output
