from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from raymlops.errors import ModelLoadFailed, StorageError
from raymlops.metadata import MetadataService
from raymlops.metadata.projector import Projector
from raymlops.records.models import ModelVersion
from raymlops.records.runs import Run, RunStatus
from raymlops.testing.metadata_examples import example_draft, example_run


class Shown:
    """What MLflow would show."""

    def __init__(self) -> None:
        self.runs: dict[str, tuple[str, int]] = {}
        self.versions: list[tuple[str, int]] = []
        self.aliases: dict[str, int | None] = {}
        self.failing = False
        self.harmed = ""

    def project_run(self, run: Run, trials: list[Any]) -> str:
        self.runs[run.id] = (str(run.status), len(trials))
        return run.id

    def project_version(self, version: ModelVersion, model_dir: Path) -> str:
        if self.failing:
            raise StorageError("mlflow is gone")
        if version.name == self.harmed:
            raise ModelLoadFailed("model.ubj is altered")
        if (version.name, version.version) not in self.versions:
            self.versions.append((version.name, version.version))
        return f"models:/{version.name}/{len(self.versions)}"

    def set_alias(self, name: str, alias: str, version: int | None) -> None:
        self.aliases[alias] = version


@pytest.fixture
def metadata(tmp_path: Path) -> Iterator[MetadataService]:
    with closing(MetadataService(tmp_path / "m.db")) as service:
        service.runs.create_run(example_run())
        for key in ("a", "b"):
            service.models.register_version(example_draft(), key=key)
        service.models.set_alias("churn", "champion", 2, expected=None, reason="")
        service.models.set_alias("churn", "backup", 1, expected=None, reason="")
        yield service


def _projector(metadata: MetadataService, shown: Shown) -> Projector:
    projection: Any = shown
    return Projector(metadata, projection, lambda run_id: [{"params": {}}])


def test_only_what_changed_is_written_again(metadata: MetadataService) -> None:
    shown = Shown()
    projector = _projector(metadata, shown)
    assert projector.sync() == 5
    assert projector.sync() == 0
    assert shown.runs == {"run-1": ("pending", 1)}
    assert shown.versions == [("churn", 1), ("churn", 2)]
    assert shown.aliases == {"champion": 2, "backup": 1}
    metadata.runs.update_run("run-1", status=RunStatus.SUCCEEDED)
    metadata.models.set_alias("churn", "backup", None, expected=1, reason="")
    assert projector.sync() == 2
    assert shown.runs["run-1"][0] == "succeeded"
    assert shown.aliases == {"champion": 2, "backup": None}


def test_an_mlflow_that_was_lost_is_written_whole_again(metadata: MetadataService) -> None:
    before, after = Shown(), Shown()
    _projector(metadata, before).sync()
    assert metadata.models.get_version("churn", 2).mlflow_uri == "models:/churn/2"
    assert _projector(metadata, after).sync() == 5
    assert (after.runs, after.versions, after.aliases) == (before.runs, before.versions, before.aliases)


def test_a_sync_that_failed_goes_on_where_it_was(metadata: MetadataService) -> None:
    shown = Shown()
    projector = _projector(metadata, shown)
    shown.failing = True
    with pytest.raises(StorageError):
        projector.sync()
    shown.failing = False
    assert projector.sync() == 4


def test_a_model_whose_files_are_harmed_keeps_no_other_from_being_shown(metadata: MetadataService) -> None:
    metadata.models.register_version(example_draft("delay"), key="a")
    shown = Shown()
    projector = _projector(metadata, shown)
    shown.harmed = "churn"
    with pytest.raises(ModelLoadFailed):
        projector.sync()
    assert shown.versions == [("delay", 1)]
    shown.harmed = ""
    assert projector.sync() == 4
