from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from raymlops.errors import StorageError
from raymlops.pipelines.artifacts import content_digest
from raymlops.records.models import ModelVersion
from raymlops.steps import TrainingContext
from raymlops.steps.register import register

MANIFEST = {
    "name": "toy",
    "service": "toy@1",
    "views": {},
    "table_versions": {"loads": 3},
    "spine_digest": "s",
    "spine_path": "p",
    "code_digest": "c",
    "knowledge_cutoff": False,
    "rows": 1200,
    "created_at": "2013-03-01T00:00:00Z",
    "digest": "t" * 64,
}
METRICS = {"log_loss": 0.5, "auc": 0.8}
DOSSIER = {
    "metrics": METRICS,
    "champion_metrics": {},
    "comparison": {"passed": True},
    "reason": "better",
    "winner": {"family": "logistic", "params": {"C": 1.0}, "seed": 4},
    "fitted": {"refit": True, "rows": 1200, "trained_until": "2013-02-28", "holdout_from": "2013-02-14"},
    "infra": {"problem": ""},
    "evaluation": {
        "train": {"log_loss": 0.4},
        "baseline": {"log_loss": 0.7},
        "holdout": {"metrics": METRICS, "intervals": {"log_loss": [0.45, 0.55]}, "rows": 300},
    },
}
BLESSINGS = {
    kind: {"kind": kind, "granted": True, "subject": "t" * 64, "reason": "well done"} for kind in ("data", "evaluation")
}


class Registry:
    """Registers once per key, as the metadata store does; may be struck down before or after it has."""

    def __init__(self) -> None:
        self.versions: dict[str, ModelVersion] = {}
        self.strikes = ""

    def register_version(self, draft: ModelVersion, *, key: str) -> ModelVersion:
        if self.strikes == "before":
            raise KeyboardInterrupt
        numbered = draft.model_copy(update={"version": len(self.versions) + 1})
        version = self.versions.setdefault(key, numbered)
        if self.strikes == "after":
            raise KeyboardInterrupt
        return version


@pytest.fixture
def package(trained: dict[str, Any], tmp_path: Path) -> Path:
    """The model under a content's name, as the artifact store keeps it."""
    return Path(shutil.copytree(trained["model"], tmp_path / content_digest(trained["model"])))


def _register(bare: TrainingContext, registry: Registry, package: Path) -> Any:
    context = replace(bare, metadata=SimpleNamespace(models=registry))
    pin = {"as_of": "2013-03-01T00:00:00+00:00", "champion": 2}
    project = bare.project.model_dump(mode="json")
    given = {"package": package, "pin": pin, "training_set": MANIFEST, "dossier": DOSSIER, "project": project}
    return register(context, **given, **BLESSINGS)["result"]


def test_a_version_says_where_it_comes_from(bare: TrainingContext, package: Path) -> None:
    registry = Registry()
    got = _register(bare, registry, package)
    version = registry.versions["run-1"]
    assert got["outcome"] == "candidate"
    assert got["version"] == 1
    assert Path(version.path) == bare.home / "models" / "toy" / package.name[:16]
    assert (Path(version.path) / "manifest.json").is_file()
    assert (version.training_set, version.table_versions) == ("t" * 64, {"loads": 3})
    assert version.metrics == {
        "log_loss": 0.5,
        "auc": 0.8,
        "log_loss_low": 0.45,
        "log_loss_high": 0.55,
        "holdout_rows": 300.0,
        "train_log_loss": 0.4,
        "baseline_log_loss": 0.7,
    }
    assert version.parameters["params.C"] == 1.0
    assert version.parameters["family"] == "logistic"
    assert version.parameters["trained_until"] == "2013-02-28"
    assert version.parameters["champion"] == 2
    assert [blessing.kind for blessing in version.blessings] == ["data", "evaluation"]
    assert version.unblessed == ["the infrastructure blessing is missing"]


@pytest.mark.parametrize("strikes", ["before", "after"])
def test_struck_down_and_done_again_it_is_one_version(bare: TrainingContext, package: Path, strikes: str) -> None:
    registry = Registry()
    registry.strikes = strikes
    with pytest.raises(KeyboardInterrupt):
        _register(bare, registry, package)
    registry.strikes = ""
    assert _register(bare, registry, package)["version"] == 1
    assert len(registry.versions) == 1
    assert [path.name for path in (bare.home / "models" / "toy").iterdir()] == [package.name[:16]]


def test_files_that_were_altered_meanwhile_are_put_back(bare: TrainingContext, package: Path) -> None:
    registry = Registry()
    _register(bare, registry, package)
    place = Path(registry.versions["run-1"].path)
    next(place.glob("model.*")).write_bytes(b"rubbish")
    _register(replace(bare, run_id="run-2"), registry, package)
    assert registry.versions["run-2"].path == str(place)
    assert content_digest(place) == package.name


def test_a_copy_that_fails_leaves_nothing_behind(
    bare: TrainingContext, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copy2", full)
    monkeypatch.setattr("raymlops.steps.register.sync", full)
    registry = SimpleNamespace(register_version=None)
    with pytest.raises(StorageError, match="No space left on device"):
        _register(bare, registry, package)  # type: ignore[arg-type]
    assert list((bare.home / "models" / "toy").iterdir()) == []
