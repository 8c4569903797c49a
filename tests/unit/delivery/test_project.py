from __future__ import annotations

import os
from pathlib import Path

import pytest

from raymlops.delivery import project as project_module
from raymlops.delivery import read_project
from raymlops.delivery.project import collect_files
from raymlops.errors import ConfigError

from .conftest import write_project


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (None, "project.yaml: a project must have it: No such file"),
        ("name: [", "must be YAML"),
        ("name: x\n", "model: Field required"),
        ("just text", "document"),
        ("!!python/object/apply:os.system [id]", "must be YAML"),
    ],
)
def test_a_wrong_project_file_is_named(tmp_path: Path, content: str | None, what: str) -> None:
    project = write_project(tmp_path / "project")
    (project / "project.yaml").unlink() if content is None else (project / "project.yaml").write_text(content)
    with pytest.raises(ConfigError, match=what):
        read_project(project)


def test_hidden_files_and_caches_stay_at_home(tmp_path: Path) -> None:
    files = collect_files(write_project(tmp_path))
    assert list(files) == ["definitions.py", "project.yaml", "run.sh", "tests/test_definitions.py"]
    assert [name for name, file in files.items() if file.executable] == ["run.sh"]


def test_links_and_pipes_do_not_travel(tmp_path: Path) -> None:
    (write_project(tmp_path / "linked") / "secrets").symlink_to("/etc")
    os.mkfifo(write_project(tmp_path / "piped") / "pipe")
    for name, what in (("linked", "secrets"), ("piped", "pipe")):
        with pytest.raises(ConfigError, match=f"{what}: .*regular files only"):
            collect_files(tmp_path / name)


def test_a_name_that_cannot_be_shown_is_refused(tmp_path: Path) -> None:
    (tmp_path / "two\nlines").write_text("")
    with pytest.raises(ConfigError, match="printable"):
        collect_files(tmp_path)


def test_data_does_not_travel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(project_module, "MAX_PROJECT_BYTES", 100)
    (tmp_path / "data.csv").write_bytes(b"x" * 101)
    with pytest.raises(ConfigError, match=r"at most 100 bytes; .*data\.csv"):
        collect_files(tmp_path)
