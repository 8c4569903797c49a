"""A model, rows, and a job over them, without Ray."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from deltalake import DeltaTable
from pyarrow import parquet
from xgboost import XGBClassifier

from raymlops.clock import ManualClock
from raymlops.config.monitoring import MonitoringConfig
from raymlops.metadata import MetadataService
from raymlops.monitoring import REFERENCE_FILE, Reference
from raymlops.records.models import ModelManifest
from raymlops.records.record import sha256_of
from raymlops.records.scoring import Part, PartReceipt, ScoringPlan
from raymlops.scoring import JobDirectory, OutputTable, RowSource, ScoringJob, cut_parts
from raymlops.scoring.opening import ScorerSetting, open_scorer
from raymlops.scoring.sources import file_source
from raymlops.scoring.validation import find_reference
from raymlops.serving.models.model import Model, columns_of
from raymlops.serving.models.model_files import load_model, save_model
from raymlops.tables.columns import INSTANT

NOW = datetime(2024, 3, 1, tzinfo=UTC)


class World:
    """Everything a job needs, below one directory."""

    def __init__(self, root: Path, directory: Path, manifest: ModelManifest) -> None:
        self.root = root
        self.metadata = MetadataService(root / "metadata.db", clock=ManualClock(NOW))
        plan = ScoringPlan(
            model="m",
            version=3,
            digest=sha256_of(manifest),
            source=file_source(self.table(self.rows(1), name="first.parquet"), "first"),
            columns=("user", "event_time"),
            output=str(root / "scored"),
            part_rows=250,
            block_rows=120,
        )
        reference = find_reference(directory, "ab")
        self.setting = ScorerSetting(plan, directory, manifest, root / "features", {}, reference)

    @staticmethod
    def rows(rows: int, seed: int = 0) -> pa.Table:
        chance = np.random.default_rng(seed)
        at = pa.array([NOW + timedelta(seconds=n) for n in range(rows)], INSTANT)
        return pa.table(
            {
                "user": chance.integers(0, 7, rows),  # far fewer keys than rows: most come again
                "event_time": at,
                "a": chance.normal(size=rows),
                "b": pa.array(chance.normal(size=rows), mask=chance.random(rows) < 0.1),
            }
        )

    def table(self, rows: pa.Table, row_group_size: int = 100, name: str = "rows.parquet") -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        parquet.write_table(rows, path, row_group_size=row_group_size)
        return path

    def plan(self, path: Path, **changes: Any) -> ScoringPlan:
        values = self.setting.plan.model_dump() | {"source": file_source(path, path.name)} | changes
        return ScoringPlan.model_validate(values)

    def job(self, path: Path, **changes: Any) -> ScoringJob:
        plan = self.plan(path, **changes)
        directory = JobDirectory(self.root / "jobs" / plan.key[:16])
        plan = directory.adopted(plan)
        setting = replace(self.setting, plan=plan)
        return ScoringJob(
            plan=plan,
            parts=cut_parts(RowSource(plan.source).row_groups(), plan.part_rows),
            scorer=open_scorer(setting),
            output=OutputTable(plan.output),
            directory=directory,
            reference=find_reference(setting.directory, "ab"),
            journal=self.metadata,
            config=MonitoringConfig(),
            clock=ManualClock(NOW),
            model_uri=str(setting.directory),
        )

    @staticmethod
    def in_process(job: ScoringJob, done: list[int] | None = None) -> Callable[[Any], Iterator[PartReceipt]]:
        """Scores parts here; ``done`` hears which."""

        def execute(parts: list[Part]) -> Iterator[PartReceipt]:
            for part in parts:
                if done is not None:
                    done.append(part.number)
                yield job.scorer.score(part)

        return execute

    def model(self) -> Model:
        return load_model(self.setting.directory, self.setting.manifest, self.setting.plan.digest)

    def expected(self, rows: pa.Table) -> list[list[float]]:
        """What the model says of each row, asked directly."""
        model = self.model()
        probability: list[list[float]] = model.predict(columns_of(rows, model.signature))["probability"].tolist()
        return probability

    def scored(self, version: int | None = None) -> pa.Table:
        return DeltaTable(self.setting.plan.output, version=version).to_pyarrow_table().sort_by("_row")


@pytest.fixture(scope="session")
def packaged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ModelManifest]:
    inputs = World.rows(2000, seed=1).select(["a", "b"])
    matrix = inputs.to_pandas().to_numpy()
    estimator = XGBClassifier(n_estimators=8, max_depth=3).fit(matrix, np.nansum(matrix, axis=1) > 0)
    directory = tmp_path_factory.mktemp("models") / "m"
    manifest = save_model(directory, estimator, example=inputs)
    (directory / REFERENCE_FILE).write_bytes(Reference.fit(inputs).dumps())
    return directory, manifest


@pytest.fixture
def world(tmp_path: Path, packaged: tuple[Path, ModelManifest]) -> Iterator[World]:
    made = World(tmp_path, *packaged)
    yield made
    made.metadata.close()
