"""The templates are copier's: what is rendered comes from the answers alone, and copier renders the same."""

from __future__ import annotations

import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml

from raymlops.errors import ConfigError
from raymlops.projects.rendering import ANSWERS_FILE, TEMPLATES, render_project, write_files
from tests.unit.projects.test_making import make

ROOT = Path(__file__).resolve().parents[3]


def answers_of(project: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((project / ANSWERS_FILE).read_text())
    return found


def test_the_answers_file_renders_the_project_again(tmp_path: Path) -> None:
    made = make("orders", tmp_path)
    answers = answers_of(made.directory)
    source, commit = answers.pop("_src_path"), answers.pop("_commit")
    for name, content in render_project(answers, source=source, version=commit).items():
        assert (made.directory / name).read_bytes() == content, name


def test_every_answer_has_its_question(tmp_path: Path) -> None:
    asked = yaml.safe_load((TEMPLATES / "questions.yml").read_text())
    answers = answers_of(make("tickets", tmp_path).directory)
    assert {name for name in answers if not name.startswith("_")} == set(asked)


def test_copier_renders_the_same_and_brings_a_newer_template_in(tmp_path: Path) -> None:
    copier = pytest.importorskip("copier", reason="copier is not installed: pip install copier")
    git = shutil.which("git")
    if git is None:
        pytest.skip("needs git")

    def commit(directory: Path, message: str, tag: str = "") -> None:
        who = ["-c", "user.name=n", "-c", "user.email=n@example.org"]
        for command in (["init", "-q"], ["add", "-A"], [*who, "commit", "-qm", message], ["tag", tag] if tag else []):
            if command:
                subprocess.run([git, *command], cwd=directory, check=True, timeout=60)

    source = tmp_path / "source"
    shutil.copytree(TEMPLATES, source / "raymlops/projects/template")
    shutil.copy(ROOT / "copier.yml", source)
    now = f"v{version('raymlops')}"  # which a made project says it is of
    commit(source, "one", now)
    made = make("orders", tmp_path)
    answers = made.directory / ANSWERS_FILE
    answers.write_text(answers.read_text().replace("_src_path: raymlops", f"_src_path: {source}"))
    given = {name: value for name, value in answers_of(made.directory).items() if not name.startswith("_")}
    copier.run_copy(str(source), tmp_path / "again", data=given, defaults=True, quiet=True, vcs_ref=now)
    for path in (tmp_path / "again").rglob("*"):
        if path.is_file() and ".git" not in path.parts:
            assert path.read_bytes() == (made.directory / path.relative_to(tmp_path / "again")).read_bytes(), path
    commit(made.directory, "made")
    project = made.directory / "project.yaml"
    project.write_text(project.read_text().replace("trials: 4", "trials: 9"))
    commit(made.directory, "mine")
    newer = source / "raymlops/projects/template/project/.gitignore"
    newer.write_text(newer.read_text() + "*.log\n")
    commit(source, "two", "v99.0.0")
    copier.run_update(made.directory, defaults=True, overwrite=True, quiet=True, skip_answered=True)
    assert "trials: 9" in project.read_text()
    assert "*.log" in (made.directory / ".gitignore").read_text()
    assert answers_of(made.directory)["_commit"] == "v99.0.0"


def test_a_directory_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="must be empty or not there"):
        write_files(tmp_path, {"README.md": b"theirs"})
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_an_empty_directory_is_filled(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    write_files(tmp_path / "empty", {"a/b.txt": b"b"})
    assert (tmp_path / "empty/a/b.txt").read_bytes() == b"b"
