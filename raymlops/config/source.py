"""The git repository whose pushes are built and deployed."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from raymlops.config.section import Section, Span, check_url
from raymlops.config.section import parse_duration as _d
from raymlops.records.names import ENVIRONMENT_PATTERN

__all__ = ["BRANCH", "SourceConfig"]

BRANCH = "{branch}"
"""Stands in the name of an environment for the branch, which then has one of its own."""
_PLAIN, _DIGITS = 30, 12
"""Characters of a branch in the name of its environment: so many as it is spelled, and so many of its hash."""


class SourceConfig(Section):
    """A repository, and which of its branches go where."""

    # a URL may hold what only its owner is to know
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    url: str = Field(repr=False)
    """``https://...``, ``http://`` of this machine, or the absolute path of a repository."""
    branches: Mapping[str, str] = Field(default={"main": "dev"}, min_length=1)
    """Branch, or a pattern such as ``feature/*``, -> environment that a push to it is deployed in; the first that fits
    counts. ``{branch}`` in the environment's name gives each branch one of its own, which goes with the branch."""
    like: str = Field("dev", pattern=ENVIRONMENT_PATTERN)
    """Environment whose rules hold in the environments of single branches."""
    directory: str = ""
    """Where in the repository the project is; empty, at its top."""
    every: Span = _d("30s")
    """Pause, on the wall clock, between two looks at the branches."""
    timeout: Span = _d("60s")
    """Deadline, on the wall clock, of one look."""
    build_deadline: Span = _d("1h")
    """Deadline, on the wall clock, of cloning, building and deploying one commit."""
    username: str = "git"
    """Account at the repository, where a password is given; with a token, most hosts take any."""
    password_env: str = ""
    """Environment variable of the control plane's node that holds the password or token."""
    password_file: Path | None = None
    """File that holds it, readable by its owner alone."""

    def environment_of(self, branch: str) -> str | None:
        """The environment that pushes to a branch are deployed in; ``None`` where the branch is not watched."""
        found = self._named(branch)
        return None if found is None else found.replace(BRANCH, _slug(branch))

    def has_own(self, branch: str) -> bool:
        """Whether a branch has an environment of its own, which goes when the branch goes."""
        return BRANCH in (self._named(branch) or "")

    def gives(self, environment: str) -> bool:
        """Whether an environment may be that of a single branch."""
        ends = (name.partition(BRANCH) for name in self.branches.values() if BRANCH in name)
        own = rf"[a-z][a-z0-9_-]*-[0-9a-f]{{{_DIGITS}}}"
        return any(re.fullmatch(f"{first}{own}{last}", environment) for first, _, last in ends)

    def _named(self, branch: str) -> str | None:
        return next((name for pattern, name in self.branches.items() if fnmatchcase(branch, pattern)), None)

    @field_validator("url")
    @classmethod
    def _reachable(cls, url: str) -> str:
        if url.startswith("/"):
            return url
        check_url(url)
        if "?" in url or "#" in url:  # status and messages show it
            raise ValueError("url must have no query: a token belongs into password_env or password_file")
        return url

    @field_validator("branches")
    @classmethod
    def _environments(cls, branches: Mapping[str, str]) -> Mapping[str, str]:
        for name in branches.values():
            if re.fullmatch(ENVIRONMENT_PATTERN, name.replace(BRANCH, "b" * (_PLAIN + 1 + _DIGITS))) is None:
                rule = "must be made of lower-case letters, digits, - and _, and be short enough for any branch"
                raise ValueError(f"environment {name!r} {rule}")
        return branches

    @field_validator("directory")
    @classmethod
    def _inside(cls, directory: str) -> str:
        if PurePosixPath(directory).is_absolute() or ".." in PurePosixPath(directory).parts:
            raise ValueError("directory must be a path inside of the repository")
        return directory

    @model_validator(mode="after")
    def _one_password(self) -> Self:
        if self.password_env and self.password_file is not None:
            raise ValueError("must have at most one of password_env and password_file")
        return self


def _slug(branch: str) -> str:
    """A branch as part of an environment's name, a letter first.

    Digits of its hash are always in it: a branch must not reach another environment by its name.
    """
    plain = re.sub(r"[^a-z0-9_-]+", "-", branch.lower()).lstrip("0123456789_-")[:_PLAIN].rstrip("-") or "branch"
    return f"{plain}-{hashlib.sha256(branch.encode()).hexdigest()[:_DIGITS]}"
