"""Pushes to a watched repository, and what came of them."""

from __future__ import annotations

from typing import Literal

from raymlops.records.ledger import LedgerEntry
from raymlops.records.record import Instant, Record

__all__ = ["BUILD", "DEPLOYED", "FAILED", "REMOVED", "CommitStatus", "Push", "SourceStatus", "push_subject"]

BUILD, DEPLOYED, FAILED, REMOVED = "build_commit", "commit_deployed", "commit_failed", "environment_removed"
"""Actions in the ledger."""
_PREFIX = "source:"


def push_subject(branch: str) -> str:
    """The subject of the ledger entries about a branch; no model can have a name with a colon."""
    return f"{_PREFIX}{branch}"


class Push(Record):
    """A commit that a branch came to, and the entry of the ledger that says that it is built."""

    sequence: int
    branch: str
    commit: str
    environment: str

    @property
    def job(self) -> str:
        """Id of the job that builds it."""
        return f"build-{self.commit[:12]}-{self.sequence}"

    @classmethod
    def of(cls, entry: LedgerEntry) -> Push:
        """The push that an entry is about."""
        evidence = entry.evidence
        return cls(
            sequence=entry.sequence,
            branch=str(evidence["branch"]),
            commit=str(evidence["commit"]),
            environment=str(evidence["environment"]),
        )

    def ending(self, bundle: str | None = None, version: int | None = None) -> dict[str, object]:
        """What the entry about its end holds."""
        facts = {"branch": self.branch, "commit": self.commit, "environment": self.environment}
        return {**facts, "build": self.sequence, "bundle": bundle, "version": version}

    @property
    def ending_key(self) -> str:
        """Key of the entry about its end, of which there is one."""
        return f"commit_ended:{self.sequence}"


class CommitStatus(Record):
    """What became of a commit, for whoever pushed it."""

    commit: str
    branch: str
    environment: str
    state: Literal["pending", "success", "failure"]
    description: str
    bundle: str | None = None
    version: int | None = None
    at: Instant


class SourceStatus(Record):
    """How it stands with the watched repository."""

    url: str
    problem: str | None = None
    """Why it could not be read at the last look, or what else went wrong there."""
    commits: tuple[CommitStatus, ...] = ()
    """The newest of each branch."""
