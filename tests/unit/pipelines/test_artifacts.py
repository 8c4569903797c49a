from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymlops.errors import DataError, NotFoundError, StorageError
from raymlops.pipelines import ArtifactRef, ArtifactStore, artifacts

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> ArtifactStore:
    return ArtifactStore(tmp_path_factory.mktemp("artifacts"))


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "artifacts")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = tmp_path / "model"
    (path / "sub").mkdir(parents=True)
    (path / "a.bin").write_bytes(b"a")
    (path / "sub" / "b.bin").write_bytes(b"b")
    return path


@given(value=JSON)
def test_json_comes_back_equal_and_under_one_name(shared: ArtifactStore, value: Any) -> None:
    artifact = shared.put("json", value)
    assert shared.get(artifact) == value
    assert shared.put("json", value) == artifact
    assert shared.verify(artifact)


def test_the_name_of_json_does_not_depend_on_the_order_of_keys(store: ArtifactStore) -> None:
    assert store.put("json", {"a": 1, "b": 2}) == store.put("json", {"b": 2, "a": 1})


def test_a_table_comes_back_equal(store: ArtifactStore) -> None:
    table = pa.table({"x": pa.chunked_array([[1.0, None], [2.0]]), "s": ["a", None, "c"]})
    artifact = store.put("arrow", table)
    assert store.get(artifact).equals(table)
    assert store.put("arrow", table.combine_chunks()) == artifact
    assert store.put("arrow", table.slice(1)) != artifact


def test_an_empty_table_is_an_artifact(store: ArtifactStore) -> None:
    table = pa.table({"x": pa.array([], pa.float64())})
    assert store.get(store.put("arrow", table)).equals(table)


def test_a_directory_comes_back_file_by_file(store: ArtifactStore, directory: Path) -> None:
    artifact = store.put("directory", directory)
    got = store.get(artifact)
    assert (got / "sub" / "b.bin").read_bytes() == b"b"
    assert store.put("directory", directory) == artifact
    (directory / "a.bin").write_bytes(b"c")
    assert store.put("directory", directory) != artifact


@pytest.mark.parametrize("kind", ["arrow", "json", "bytes", "directory"])
def test_an_altered_artifact_is_found_out_and_put_back(store: ArtifactStore, directory: Path, kind: Any) -> None:
    value: Any = {"arrow": pa.table({"x": [1]}), "json": {"x": 1}, "bytes": b"x", "directory": directory}[kind]
    artifact = store.put(kind, value)
    path = store.path(artifact)
    altered = path / "a.bin" if kind == "directory" else path
    altered.write_bytes(altered.read_bytes() + b"!")
    assert not store.verify(artifact)
    assert store.put(kind, value) == artifact
    assert store.verify(artifact)


def test_a_file_too_many_alters_a_directory(store: ArtifactStore, directory: Path) -> None:
    artifact = store.put("directory", directory)
    (store.path(artifact) / "more.bin").write_bytes(b"")
    assert not store.verify(artifact)


def test_what_is_not_there_is_an_error_that_names_the_file(store: ArtifactStore) -> None:
    artifact = ArtifactRef(digest="0" * 64, kind="json")
    assert not store.verify(artifact)
    with pytest.raises(NotFoundError, match="0" * 64):
        store.get(artifact)


@pytest.mark.parametrize("kind", ["json", "directory"])
def test_what_is_taken_away_while_it_is_checked_is_not_there(
    store: ArtifactStore, directory: Path, kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = store.put(kind, directory if kind == "directory" else {"a": 1})
    path, digest = store.path(reference), artifacts.content_digest
    file = path / "a.bin" if kind == "directory" else path
    assert file.is_file()
    assert store.verify(reference)

    def take_away_first(each: Path) -> str:
        if each == file:
            file.unlink()
        return digest(each)

    monkeypatch.setattr(artifacts, "content_digest", take_away_first)
    assert not store.verify(reference)


def test_a_table_that_is_none_is_a_storage_error(store: ArtifactStore) -> None:
    artifact = store.put("arrow", pa.table({"x": [1]}))
    store.path(artifact).write_bytes(b"rubbish")
    with pytest.raises(StorageError, match=artifact.digest):
        store.get(artifact)


@pytest.mark.parametrize(
    ("kind", "value"), [("arrow", [1]), ("json", object()), ("bytes", "text"), ("directory", "/no/such/directory")]
)
def test_a_value_of_another_kind_is_refused(store: ArtifactStore, kind: Any, value: Any) -> None:
    with pytest.raises(DataError, match="artifact must be"):
        store.put(kind, value)


def test_a_link_is_no_part_of_an_artifact(store: ArtifactStore, directory: Path) -> None:
    (directory / "link").symlink_to("/etc/passwd")
    with pytest.raises(DataError, match="regular files only"):
        store.put("directory", directory)


def test_nothing_is_left_behind(store: ArtifactStore, directory: Path, tmp_path: Path) -> None:
    store.put("directory", directory)
    store.put("directory", directory)
    store.put("json", 1)
    with pytest.raises(DataError):
        store.put("json", object())
    assert list((tmp_path / "artifacts" / "tmp").iterdir()) == []


def test_what_killed_processes_left_long_ago_is_swept(tmp_path: Path) -> None:
    root = tmp_path / "artifacts"
    ArtifactStore(root)
    old, new = root / "tmp" / "old", root / "tmp" / "new"
    old.mkdir()
    (old / "file").write_bytes(b"")
    new.write_bytes(b"")
    os.utime(old, (0, 0))
    ArtifactStore(root)
    assert not old.exists()
    assert new.exists()


def test_a_root_that_cannot_be_made_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="file"):
        ArtifactStore(tmp_path / "file")
