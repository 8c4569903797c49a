"""The git checkout of a project: its commit, and the files that differ from it. No git program is run."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

from raymlops.delivery.project import PROJECT_FILE, SourceFile, is_left_out
from raymlops.errors import ConfigError
from raymlops.records.bundles import Source

if TYPE_CHECKING:
    from dulwich.objects import Commit
    from dulwich.repo import Repo

__all__ = ["Checkout", "read_checkout"]

_NAMED = 5


class Checkout(NamedTuple):
    """A project in a git checkout.

    Attributes:
        files: The project's files but for those that git ignores.
        source: The commit; ``None`` where the project is in no checkout, in one without a commit, or where
            git ignores it.
        changed: Files that differ from the commit, by path.
    """

    files: dict[str, SourceFile]
    source: Source | None = None
    changed: tuple[str, ...] = ()

    def require_clean(self, project: str) -> None:
        """Refuse a project that is not what its commit holds.

        Raises:
            ConfigError: A file differs.
        """
        if self.source is not None and self.changed:
            named = ", ".join(self.changed[:_NAMED]) + (", ..." if len(self.changed) > _NAMED else "")
            found = f"{len(self.changed)} files differ from commit {self.source.commit[:12]}: {named}"
            remedy = "commit them, or allow a dirty build (--allow-dirty)"
            raise ConfigError(f"project {project!r}: {found}; {remedy}", changed=list(self.changed))


def read_checkout(directory: Path, files: Mapping[str, SourceFile]) -> Checkout:
    """Hold a project's files against the commit that is checked out.

    Args:
        directory: The project's, somewhere in a checkout or in none.
        files: As ``collect_files`` gave them.
    """
    from dulwich.errors import NotGitRepository
    from dulwich.ignore import IgnoreFilterManager
    from dulwich.repo import Repo

    try:
        repo = Repo.discover(str(directory.absolute()))
    except NotGitRepository:
        return Checkout(dict(files))
    with closing(repo):
        root = Path(repo.path).resolve()
        prefix = directory.resolve().relative_to(root).as_posix()
        below = "" if prefix == "." else f"{prefix}/"
        ignored = IgnoreFilterManager.from_repo(repo)
        if ignored.is_ignored(below + PROJECT_FILE):
            return Checkout(dict(files))  # a directory that git is to know nothing of
        shipped = {name: file for name, file in files.items() if not ignored.is_ignored(below + name)}
        try:
            head = repo.head()
        except KeyError:  # nothing was committed yet
            return Checkout(shipped)
        commit = cast("Commit", repo[head])
        changed = _changed(repo, commit, below, shipped)
        author = commit.author.decode(errors="replace")
        found = Source(commit=head.decode(), author=author, branch=_branch(repo), dirty=bool(changed))
        return Checkout(shipped, found, changed)


def _changed(repo: Repo, commit: Commit, below: str, files: Mapping[str, SourceFile]) -> tuple[str, ...]:
    from dulwich.objects import Blob

    committed: dict[str, tuple[bytes, bool]] = {}
    for entry in repo.object_store.iter_tree_contents(commit.tree):
        path = (entry.path or b"").decode(errors="replace")
        name = path.removeprefix(below)
        if path.startswith(below) and not any(map(is_left_out, name.split("/"))):
            committed[name] = (entry.sha or b"", bool((entry.mode or 0) & 0o100))
    here = {name: (Blob.from_string(file.content).id, file.executable) for name, file in files.items()}
    return tuple(sorted(name for name in committed.keys() | here.keys() if committed.get(name) != here.get(name)))


def _branch(repo: Repo) -> str | None:
    from dulwich.refs import HEADREF

    names = [name for name in repo.refs.follow(HEADREF)[0] if name.startswith(b"refs/heads/")]
    return names[-1].removeprefix(b"refs/heads/").decode() if names else None
