from __future__ import annotations

import os
from pathlib import Path

import pytest

from raymlops.delivery import project as project_module
from raymlops.delivery import read_project
from raymlops.delivery.project import collect_files, parse_project
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


POLICY = """
policy:
  triggers: {drift: null, cron: {at: "0 3 * * mon", zone: Europe/Berlin}}
  retrain: {cooldown: 3d}
  environments:
    prod: {trial: {weight: 0.05}}
"""


def test_a_project_says_the_policy_of_its_model(tmp_path: Path) -> None:
    project = write_project(tmp_path)
    said = read_project(project)
    assert said.policy is None
    assert "policy" not in said.model_dump_json()
    with (project / "project.yaml").open("a") as file:
        file.write(POLICY)
    policy = read_project(project).policy
    assert policy is not None
    assert policy["environments"] == {"prod": {"trial": {"weight": 0.05}}}


@pytest.mark.parametrize(
    ("policy", "what"),
    [
        ("policy: {retrain: {cooldown: 3}}", r"project\.yaml: policy\.retrain\.cooldown must carry its unit.*got 3"),
        ("policy: {triggers: {cron: {at: daily}}}", r"policy\.triggers\.cron must be five fields"),
        (
            "policy: {environments: {prod: {trial: {weigth: 0.1}}}}",
            r"environment prod: policy\.trial\.weigth is not a setting; known here: .*weight",
        ),
        ("policy: {retrain: {cooldown: 2026-01-01}}", "policy"),
        ("policy: often", "policy: Input should be a valid dictionary"),
    ],
)
def test_a_policy_that_breaks_a_rule_is_refused(tmp_path: Path, policy: str, what: str) -> None:
    project = write_project(tmp_path)
    with (project / "project.yaml").open("a") as file:
        file.write(policy)
    with pytest.raises(ConfigError, match=what):
        read_project(project)


def test_a_bundle_whose_policy_is_of_another_release_can_be_read(tmp_path: Path) -> None:
    content = (write_project(tmp_path) / "project.yaml").read_bytes() + b"policy: {retrain: {gone: 1}}\n"
    assert parse_project(content, "project.yaml").policy == {"retrain": {"gone": 1}}
