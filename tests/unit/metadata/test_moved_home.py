"""A home that was moved keeps its model versions: what is recorded is where they lie in it."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from raymlops.metadata import MetadataService
from raymlops.testing.metadata_examples import example_draft


def test_the_files_of_a_version_are_found_where_the_home_is_now(tmp_path: Path) -> None:
    home = tmp_path / "old"
    package = home / "models" / "churn" / "abc"
    package.mkdir(parents=True)
    with closing(MetadataService(home / "metadata.db")) as metadata:
        draft = example_draft().model_copy(update={"path": str(package)})
        registered = metadata.models.register_version(draft, key="k")
        assert registered.path == str(package)
    moved = home.rename(tmp_path / "new")
    with closing(MetadataService(moved / "metadata.db")) as metadata:
        found = metadata.models.get_version(registered.name, registered.version)
        assert found.path == str(moved / "models" / "churn" / "abc")
        assert Path(found.path).is_dir()
        assert metadata.models.register_version(draft, key="k").path == found.path
    assert b"/old/" not in (moved / "metadata.db").read_bytes()


def test_a_path_that_an_earlier_release_recorded_whole_is_found_too(tmp_path: Path) -> None:
    package = tmp_path / "new" / "models" / "churn" / "abc"
    package.mkdir(parents=True)
    with closing(MetadataService(tmp_path / "new" / "metadata.db")) as metadata:
        draft = example_draft().model_copy(update={"path": str(tmp_path / "old" / "models" / "churn" / "abc")})
        assert metadata.models.register_version(draft, key="k").path == str(package)
        elsewhere = example_draft().model_copy(update={"path": "/nowhere/at/all"})
        assert metadata.models.register_version(elsewhere, key="l").path == "/nowhere/at/all"
