"""A git repository somewhere else: which commit each branch is at, and the files of one. No git program is run."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from raymlops.config.source import SourceConfig
from raymlops.errors import ConfigError, NotFoundError, UnavailableError

if TYPE_CHECKING:
    from dulwich.client import GitClient

__all__ = ["RemoteRepository"]

_HEADS = b"refs/heads/"
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


class RemoteRepository:
    """Reads a repository. Its password is read anew for each call, and is in no message.

    Args:
        config: Address of the repository, and credentials.
        environment: Variables of this process.
    """

    def __init__(self, config: SourceConfig, environment: Mapping[str, str]) -> None:
        self._config = config
        self._environment = environment

    def heads(self) -> dict[str, str]:
        """Branch -> its commit.

        Raises:
            ConfigError: The password is not where the configuration says.
            UnavailableError: The repository cannot be read, or has no branch.
        """
        with self._client() as (client, path):
            refs = client.get_refs(path.encode()).refs
        found = {
            name.removeprefix(_HEADS).decode(errors="replace"): commit.decode(errors="replace")
            for name, commit in refs.items()
            if name.startswith(_HEADS) and commit is not None
        }
        if not found:  # without this, all branches would be taken for deleted
            raise UnavailableError(f"repository {self._config.url} has no branch")
        strange = next((name for name, commit in found.items() if _COMMIT.fullmatch(commit) is None), None)
        if strange is not None:  # a commit becomes the name of a file
            raise UnavailableError(f"repository {self._config.url}: branch {strange!r} is at what is no commit")
        return found

    def clone(self, branch: str, commit: str, target: Path) -> Path:
        """Check a commit of a branch out into a directory that is not there yet, readable by its owner alone.

        Returns:
            The project's directory.

        Raises:
            NotFoundError: The commit is not in the branch's history any more, or has no such directory.
            UnavailableError: The repository cannot be read.
        """
        from dulwich.objects import ObjectID
        from dulwich.refs import HEADREF, Ref

        target.mkdir(mode=0o700, parents=True)
        with (
            self._client() as (client, path),
            closing(client.clone(path, str(target), mkdir=False, checkout=False, branch=branch)) as repo,
        ):
            wanted, name = ObjectID(commit.encode()), Ref(_HEADS + branch.encode())
            if wanted not in repo.object_store:
                raise NotFoundError(f"commit {commit} is not in branch {branch!r} of {self._config.url} any more")
            repo.refs[name] = wanted
            repo.refs.set_symbolic_ref(HEADREF, name)
            repo.get_worktree().reset_index()
        project = target / self._config.directory
        inside = project.resolve().is_relative_to(target.resolve())  # a commit may hold a link that leads elsewhere
        if not inside or not project.is_dir():
            raise NotFoundError(f"commit {commit} has no directory {self._config.directory!r}")
        return project

    @contextmanager
    def _client(self) -> Iterator[tuple[GitClient, str]]:
        from dulwich.client import HTTPUnauthorized, get_transport_and_path
        from dulwich.config import ConfigDict
        from dulwich.errors import GitProtocolError, NotGitRepository
        from urllib3.exceptions import HTTPError

        settings = ConfigDict()  # no configuration of git on this machine is read
        settings.set((b"http",), b"timeout", f"{self._config.timeout.total_seconds():g}".encode())
        password = self._password()
        username = None if password is None else self._config.username
        try:
            client, path = get_transport_and_path(
                self._config.url, config=settings, quiet=True, username=username, password=password
            )
            with closing(client):
                yield client, path
        except (OSError, HTTPError, HTTPUnauthorized, GitProtocolError, NotGitRepository, KeyError) as error:
            told = " ".join(str(error).split())[:300] or "no reason given"
            told = told if password is None else told.replace(password, "***")
            raise UnavailableError(
                f"repository {self._config.url} cannot be read: {type(error).__name__}: {told}"
            ) from None  # the cause may hold the password

    def _password(self) -> str | None:
        name, file = self._config.password_env, self._config.password_file
        if name:
            if not self._environment.get(name):
                raise ConfigError(f"delivery.source.password_env: variable {name} is not set")
            return self._environment[name]
        if file is None:
            return None
        try:
            mode, text = file.stat().st_mode, file.read_text().strip()
        except OSError as error:
            raise ConfigError(f"delivery.source.password_file {file} cannot be read: {error.strerror}") from error
        if mode & 0o077:
            raise ConfigError(f"{file} must be its owner's alone (chmod 600), got mode {mode & 0o777:o}")
        return text
