"""What a build of a project takes from the configuration of a platform that need not run."""

from __future__ import annotations

from pathlib import Path

import pytest

from raymlops.building import lock_directory
from raymlops.errors import StorageError


def test_a_lock_without_hashes_is_not_written_into_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "requirements.lock").write_text("an older one that nobody reads\n")
    for name, value in {"UV_NO_INDEX": "1", "UV_OFFLINE": "1", "UV_CACHE_DIR": str(tmp_path / "cache")}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(StorageError, match="cannot be locked with hashes: No solution found"):
        lock_directory(project)
    assert (project / "requirements.lock").read_text().startswith("an older one")
