from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from raymlops.errors import DeploymentError, ModelLoadFailed, ModelVersionNotFound
from raymlops.records.models import ModelManifest
from raymlops.records.plans import Trial
from raymlops.serving.models.model import BrokenModel
from raymlops.serving.plans.loader import Loader, load_version


@pytest.fixture
def loader(helpers: Any, versions: Any) -> Loader:
    return Loader(versions, helpers.FakeOnline(), helpers.FakeCandidate())


@pytest.fixture
def broken(versions: Any, manifests: dict[int, ModelManifest], model_root: Path, tmp_path: Path) -> int:
    """A version whose file is truncated."""
    shutil.copytree(model_root / "3", tmp_path / "9")
    path = tmp_path / "9" / "model.ubj"
    path.write_bytes(path.read_bytes()[:-1])
    versions.add(9, tmp_path / "9", manifests[3])
    return 9


def test_a_plan_is_loaded_whole(loader: Loader, helpers: Any) -> None:
    plan = helpers.make_plan(champion=1, backup=2, trial=Trial(version=3))
    serving = loader.load(plan)
    assert (serving.champion.version, serving.backup.version if serving.backup else None) == (1, 2)
    assert sorted(serving.versions) == [1, 2]
    assert serving.candidate is not None
    assert serving.instances.keys == ("origin",)
    assert type(plan).model_validate_json(serving.plan_json) == plan
    assert (serving.role_of(1), serving.role_of(2)) == ("champion", "backup")


def test_a_loaded_version_is_not_loaded_again(loader: Loader, helpers: Any) -> None:
    first = loader.load(helpers.make_plan(champion=1))
    second = loader.load(helpers.make_plan(number=2, champion=2, backup=1), first)
    third = loader.load(helpers.make_plan(number=3, champion=1, backup=2), second)
    assert second.backup is first.champion
    assert third.champion is first.champion
    assert third.backup is second.champion


def test_a_backup_that_is_the_champion_is_none(loader: Loader, helpers: Any) -> None:
    assert loader.load(helpers.make_plan(champion=1, backup=1)).backup is None


def test_a_broken_champion_is_refused(loader: Loader, helpers: Any, broken: int) -> None:
    with pytest.raises(ModelLoadFailed, match=r"model\.ubj"):
        loader.load(helpers.make_plan(champion=broken))
    current = loader.load(helpers.make_plan(champion=1))
    with pytest.raises(ModelLoadFailed, match=r"model\.ubj"):
        loader.load(helpers.make_plan(number=2, champion=broken, backup=1), current)


def test_after_a_restart_the_backup_stands_in_for_a_broken_champion(loader: Loader, helpers: Any, broken: int) -> None:
    serving = loader.load(helpers.make_plan(champion=broken, backup=1))
    assert isinstance(serving.champion.model, BrokenModel)
    assert serving.backup is not None
    assert not isinstance(serving.backup.model, BrokenModel)


def test_a_broken_backup_is_tried_again_at_the_next_plan(
    loader: Loader, helpers: Any, broken: int, versions: Any, model_root: Path, manifests: dict[int, ModelManifest]
) -> None:
    serving = loader.load(helpers.make_plan(champion=1, backup=broken))
    assert serving.backup is not None
    assert isinstance(serving.backup.model, BrokenModel)
    versions.add(broken, model_root / "3", manifests[3])
    mended = loader.load(helpers.make_plan(number=2, champion=1, backup=broken), serving)
    assert mended.backup is not None
    assert not isinstance(mended.backup.model, BrokenModel)


@pytest.mark.parametrize("changes", [{"champion": 7}, {"backup": 7}, {"trial": Trial(version=7)}])
def test_an_unknown_version_is_named(loader: Loader, helpers: Any, changes: dict[str, Any]) -> None:
    with pytest.raises(ModelVersionNotFound, match="version 7"):
        loader.load(helpers.make_plan(**changes))


def test_what_a_plan_needs_must_be_there(versions: Any, helpers: Any) -> None:
    bare = Loader(versions)
    with pytest.raises(DeploymentError, match="needs features"):
        bare.load(helpers.make_plan())
    with pytest.raises(DeploymentError, match="holds a trial"):
        bare.load(helpers.make_plan(service=None, trial=Trial(version=2)))
    assert bare.load(helpers.make_plan(service=None)).candidate is None


def test_one_version_by_itself(versions: Any, helpers: Any) -> None:
    loaded = load_version(versions, "delay", 2)
    assert (loaded.model_name, loaded.version) == ("delay", 2)
    assert loaded.digest == versions.get_version("delay", 2).digest
