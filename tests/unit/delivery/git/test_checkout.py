"""What git knows of a project."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from dulwich import porcelain

from raymlops.clock import ManualClock
from raymlops.delivery import build_bundle
from raymlops.delivery.git.checkout import Checkout, read_checkout
from raymlops.delivery.project import collect_files
from raymlops.errors import ConfigError
from raymlops.testing.metadata_examples import EPOCH

from ..conftest import write_project

AUTHOR = b"Ada <ada@example.org>"


@pytest.fixture(params=["", "teams/flights"])
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A project at the root of a checkout, or somewhere in one."""
    with porcelain.init(str(tmp_path)):
        place = tmp_path / request.param
        (place / "sub").mkdir(parents=True)
        (place / "project.yaml").write_text("name: flights")
        (place / "sub" / "code.py").write_text("x = 1\n")
        (place / ".gitignore").write_text("*.parquet\n")
        (tmp_path / "elsewhere.txt").write_text("1")
    return place


def commit(root: Path, message: bytes = b"all") -> str:
    porcelain.add(str(root), [str(path) for path in root.rglob("*") if path.is_file() and ".git/" not in str(path)])
    return porcelain.commit(str(root), message, author=AUTHOR, committer=AUTHOR).decode()


def read(project: Path) -> Checkout:
    return read_checkout(project, collect_files(project))


def test_a_committed_project_is_clean(project: Path, tmp_path: Path) -> None:
    made = commit(tmp_path)
    if project != tmp_path:
        (tmp_path / "elsewhere.txt").write_text("2")  # none of the project's
    (project / "data.parquet").write_text("ignored")
    (project / ".hidden").write_text("does not travel")
    found = read(project)
    assert found.source is not None
    assert (found.source.commit, found.source.author, found.source.dirty) == (made, AUTHOR.decode(), False)
    assert found.source.branch in {"master", "main"}
    assert found.changed == ()
    assert "data.parquet" not in found.files
    found.require_clean("flights")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda place: (place / "sub" / "code.py").write_text("x = 2\n"), "sub/code.py"),
        (lambda place: (place / "new.py").write_text(""), "new.py"),
        (lambda place: (place / "sub" / "code.py").unlink(), "sub/code.py"),
        (lambda place: (place / "sub" / "code.py").chmod(0o755), "sub/code.py"),
    ],
    ids=["edited", "added", "removed", "executable"],
)
def test_what_differs_from_the_commit_is_named(
    project: Path, tmp_path: Path, change: Callable[[Path], object], named: str
) -> None:
    commit(tmp_path)
    change(project)
    found = read(project)
    assert found.source is not None
    assert found.source.dirty
    assert found.changed == (named,)
    with pytest.raises(ConfigError, match=rf"1 files differ from commit {found.source.commit[:12]}: {named}; commit"):
        found.require_clean("flights")


def test_without_a_commit_or_a_checkout_nothing_is_said(
    project: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert read(project).source is None
    alone = tmp_path_factory.mktemp("alone")
    (alone / "a.py").write_text("")
    assert read(alone) == Checkout(collect_files(alone))


def test_a_project_that_git_ignores_is_in_no_checkout(tmp_path: Path) -> None:
    with porcelain.init(str(tmp_path)):
        (tmp_path / ".gitignore").write_text("out/\n")
        (tmp_path / "out" / "p").mkdir(parents=True)
    (tmp_path / "out" / "p" / "project.yaml").write_text("name: flights")
    commit(tmp_path)
    found = read(tmp_path / "out" / "p")
    assert found == Checkout(collect_files(tmp_path / "out" / "p"))


def test_what_a_directory_takes_back_from_those_above_it_travels(tmp_path: Path) -> None:
    with porcelain.init(str(tmp_path)):
        (tmp_path / ".gitignore").write_text("*.parquet\n")
        (tmp_path / "p" / "tests").mkdir(parents=True)
    (tmp_path / "p" / ".gitignore").write_text("!tests/rows.parquet\n")
    (tmp_path / "p" / "project.yaml").write_text("name: flights")
    for name in ("tests/rows.parquet", "table.parquet"):
        (tmp_path / "p" / name).write_text("rows")
    commit(tmp_path)
    assert set(read(tmp_path / "p").files) == {"project.yaml", "tests/rows.parquet"}


def test_a_detached_head_has_no_branch(project: Path, tmp_path: Path) -> None:
    made = commit(tmp_path)
    porcelain.checkout(str(tmp_path), made.encode(), force=True)
    found = read(project)
    assert found.source is not None
    assert (found.source.commit, found.source.branch) == (made, None)


def test_a_dirty_build_is_refused_or_marked(tmp_path: Path) -> None:
    (tmp_path / "repo").mkdir()
    with porcelain.init(str(tmp_path / "repo")):
        place = write_project(tmp_path / "repo" / "project")
        (place / ".git" / "HEAD").unlink()
        (place / ".git").rmdir()
    commit(tmp_path / "repo")
    clean = build_bundle(place, tmp_path / "bundles", ManualClock(EPOCH), by="ada")
    assert clean.source is not None
    assert (clean.source.dirty, clean.built_by) == (False, "ada")
    (place / "more.py").write_text("y = 1\n")
    with pytest.raises(ConfigError, match=r"1 files differ from commit .*: more\.py"):
        build_bundle(place, tmp_path / "bundles", ManualClock(EPOCH))
    dirty = build_bundle(place, tmp_path / "bundles", ManualClock(EPOCH), allow_dirty=True)
    assert dirty.source is not None
    assert dirty.source.dirty
    assert dirty.digest != clean.digest
