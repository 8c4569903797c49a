from __future__ import annotations

from pathlib import Path

import pytest

from raymlops.errors import StorageError
from raymlops.pipelines import ArtifactStore, ExecutionCache


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "artifacts")


@pytest.fixture
def cache(tmp_path: Path, store: ArtifactStore) -> ExecutionCache:
    return ExecutionCache(tmp_path / "executions", store)


def test_what_was_put_is_found_by_another_process(tmp_path: Path, store: ArtifactStore, cache: ExecutionCache) -> None:
    artifact = store.put("json", 1)
    cache.put("k", {"x": artifact}, halted=True)
    hit, reason = ExecutionCache(tmp_path / "executions", store).find("k")
    assert hit is not None
    assert hit.outputs == {"x": artifact}
    assert hit.halted
    assert reason.startswith("same")
    assert sorted(path.name for path in (tmp_path / "executions").iterdir()) == ["k.json", "last"]


def test_what_was_not_put_is_not_found(cache: ExecutionCache) -> None:
    assert cache.find("k") == (None, "it is new")


@pytest.mark.parametrize("harm", ["alter", "remove"])
def test_an_output_that_is_not_what_it_was_is_no_hit(store: ArtifactStore, cache: ExecutionCache, harm: str) -> None:
    fine, harmed = store.put("json", 1), store.put("json", 2)
    cache.put("k", {"fine": fine, "harmed": harmed}, halted=False)
    path = store.path(harmed)
    path.write_bytes(b"3") if harm == "alter" else path.unlink()
    assert cache.find("k") == (None, "outputs ['harmed'] are missing or altered")


def test_an_entry_that_is_not_readable_is_no_hit(tmp_path: Path, cache: ExecutionCache) -> None:
    (tmp_path / "executions" / "k.json").write_bytes(b"{")
    hit, reason = cache.find("k")
    assert hit is None
    assert "not readable" in reason


def test_an_entry_that_cannot_be_read_or_written_is_a_storage_error(
    tmp_path: Path, store: ArtifactStore, cache: ExecutionCache
) -> None:
    (tmp_path / "executions" / "k.json").mkdir()
    with pytest.raises(StorageError, match=r"k\.json"):
        cache.find("k")
    with pytest.raises(StorageError, match=r"k\.json"):
        cache.put("k", {"x": store.put("json", 1)}, halted=False)
    assert sorted(path.name for path in (tmp_path / "executions").iterdir()) == ["k.json", "last"]
