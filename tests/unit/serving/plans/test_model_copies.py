from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from raymlops.errors import ModelLoadFailed
from raymlops.records.models import ModelVersion
from raymlops.serving.plans.loader import load_version
from raymlops.serving.plans.model_copies import ModelCopies


class Elsewhere:
    """Another node: paths are as here, below a directory that only it sees."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.fetched: list[str] = []
        self.spoil: Mapping[str, bytes] = {}

    def __call__(self, directory: str, names: Sequence[str]) -> Mapping[str, bytes]:
        self.fetched.append(directory)
        place = self.root / directory.lstrip("/")
        if not place.is_dir():
            raise ModelLoadFailed(f"{directory} is on no node of the cluster")
        return {name: (place / name).read_bytes() for name in names} | dict(self.spoil)


@pytest.fixture
def elsewhere(tmp_path: Path) -> Elsewhere:
    return Elsewhere(tmp_path / "other-node")


@pytest.fixture
def away(versions: Any, elsewhere: Elsewhere) -> dict[int, ModelVersion]:
    """Versions 1 to 3, whose files are on the other node alone."""
    moved = {}
    for number, version in list(versions.versions.items()):
        path = f"/registered/{number}"
        shutil.copytree(version.path, elsewhere.root / path.lstrip("/"))
        moved[number] = versions.versions[number] = version.model_copy(update={"path": path})
    return moved


def test_files_that_are_here_are_used_where_they_are(versions: Any, elsewhere: Elsewhere, tmp_path: Path) -> None:
    version = versions.get_version("delay", 1)
    assert ModelCopies(tmp_path / "copies", elsewhere).directory(version) == Path(version.path)
    assert (elsewhere.fetched, list(tmp_path.iterdir())) == ([], [])


def test_files_of_another_node_are_fetched_once(
    versions: Any, away: dict[int, ModelVersion], elsewhere: Elsewhere, tmp_path: Path
) -> None:
    copies = ModelCopies(tmp_path / "copies", elsewhere)
    assert load_version(versions, "delay", 2, copies).problem() is None
    assert load_version(versions, "delay", 2, copies).problem() is None
    assert load_version(versions, "delay", 2, ModelCopies(tmp_path / "copies", elsewhere)).problem() is None
    assert elsewhere.fetched == ["/registered/2"]
    assert [place.name for place in (tmp_path / "copies").iterdir()] == [away[2].digest]


def test_what_was_altered_on_the_way_is_refused_before_it_is_kept(
    versions: Any, away: dict[int, ModelVersion], elsewhere: Elsewhere, tmp_path: Path
) -> None:
    copies = ModelCopies(tmp_path / "copies", elsewhere)
    elsewhere.spoil = {"model.ubj": b"spoilt"}
    with pytest.raises(ModelLoadFailed, match=r"model\.ubj was fetched, and is not what the manifest says"):
        copies.directory(away[1])
    assert not (tmp_path / "copies").exists()
    elsewhere.spoil = {}
    assert load_version(versions, "delay", 1, copies).problem() is None


def test_a_copy_that_was_damaged_is_fetched_again(
    versions: Any, away: dict[int, ModelVersion], elsewhere: Elsewhere, tmp_path: Path
) -> None:
    copies = ModelCopies(tmp_path / "copies", elsewhere)
    path = copies.directory(away[1]) / "model.ubj"
    path.write_bytes(path.read_bytes()[:-1])
    assert load_version(versions, "delay", 1, copies).problem() is None
    assert len(elsewhere.fetched) == 2


def test_what_no_node_has_is_a_load_that_failed(away: dict[int, ModelVersion], tmp_path: Path) -> None:
    copies = ModelCopies(tmp_path / "copies", Elsewhere(tmp_path / "empty"))
    with pytest.raises(ModelLoadFailed, match="/registered/1 is on no node"):
        copies.directory(away[1])


def test_the_copies_used_longest_ago_go_first(
    away: dict[int, ModelVersion], elsewhere: Elsewhere, tmp_path: Path
) -> None:
    copies = ModelCopies(tmp_path / "copies", elsewhere, keep=2)
    for turn, number in enumerate((1, 2)):
        place = copies.directory(away[number])
        os.utime(place, (turn, turn))
    copies.directory(away[1])
    copies.directory(away[3])
    kept = {place.name for place in (tmp_path / "copies").iterdir()}
    assert kept == {away[1].digest, away[3].digest}
