from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from raymlops.config.source import SourceConfig
from raymlops.delivery.git.checkout import read_checkout
from raymlops.delivery.git.remote import RemoteRepository
from raymlops.delivery.project import collect_files
from raymlops.errors import ConfigError, NotFoundError, UnavailableError
from tests.support.delivered_project import commit


@pytest.fixture
def place(tmp_path: Path) -> Path:
    place = tmp_path / "repository"
    place.mkdir()
    (place / "project.yaml").write_text("name: a\n")
    (place / "run.sh").write_text("#!/bin/sh\n")
    (place / "run.sh").chmod(0o755)
    return place


def _remote(url: Path | str, **settings: object) -> RemoteRepository:
    return RemoteRepository(SourceConfig(url=str(url), **settings), {"TOKEN": "s3cret"})


def test_a_commit_is_checked_out_as_it_was_though_the_branch_went_on(place: Path, tmp_path: Path) -> None:
    first = commit(place, "one")
    (place / "project.yaml").write_text("name: b\n")
    second = commit(place, "two")
    remote = _remote(place)
    assert remote.heads() == {"main": second}
    checkout = remote.clone("main", first, tmp_path / "out")
    assert (checkout / "project.yaml").read_text() == "name: a\n"
    assert (tmp_path / "out").stat().st_mode & 0o077 == 0
    found = read_checkout(checkout, collect_files(checkout)).source
    assert found is not None
    assert (found.commit, found.branch, found.dirty) == (first, "main", False)
    with pytest.raises(NotFoundError, match="not in branch 'main'"):
        remote.clone("main", "0" * 40, tmp_path / "other")
    with pytest.raises(NotFoundError, match="no directory 'deep'"):
        _remote(place, directory="deep").clone("main", second, tmp_path / "third")


def test_what_cannot_be_read_is_told_without_the_password(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="cannot be read: NotGitRepository"):
        _remote(tmp_path / "none").heads()
    with pytest.raises(UnavailableError, match="Connection refused") as raised:
        _remote("http://127.0.0.1:1/a.git", password_env="TOKEN").heads()
    assert "s3cret" not in f"{raised.value!r}{raised.value.__cause__!r}"
    (tmp_path / "empty").mkdir()
    from dulwich.repo import Repo

    Repo.init(str(tmp_path / "empty")).close()
    with pytest.raises(UnavailableError, match="has no branch"):
        _remote(tmp_path / "empty").heads()


def test_a_password_that_is_not_there_or_open_to_others_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="variable OTHER is not set"):
        _remote("https://example.org/a.git", password_env="OTHER").heads()
    file = tmp_path / "token"
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        _remote("https://example.org/a.git", password_file=file).heads()
    file.write_text("s3cret\n")
    file.chmod(0o644)
    with pytest.raises(ConfigError, match=r"must be its owner's alone \(chmod 600\), got mode 644"):
        _remote("https://example.org/a.git", password_file=file).heads()


def test_a_commit_whose_directory_is_a_link_to_elsewhere_is_refused(place: Path, tmp_path: Path) -> None:
    from dulwich import porcelain
    from dulwich.repo import Repo

    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "project.yaml").write_text("name: c\n")
    (place / "deep").symlink_to(tmp_path / "outside")
    commit(place, "one")
    with closing(Repo(str(place))) as repo:
        repo.get_worktree().stage(["deep"])
    made = porcelain.commit(place, message=b"two", author=b"a <a@b>", committer=b"a <a@b>").decode()
    with pytest.raises(NotFoundError, match="no directory 'deep'"):
        _remote(place, directory="deep").clone("main", made, tmp_path / "out")


def test_what_a_repository_calls_a_commit_and_is_none_is_refused(place: Path) -> None:
    commit(place, "one")
    (place / ".git" / "refs" / "heads" / "evil").write_text("../../../evil\n")
    with pytest.raises(UnavailableError, match="branch 'evil' is at what is no commit"):
        _remote(place).heads()
