"""From a push to a build: which commits are built, and their statuses. The state is in the ledger."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Protocol

from raymlops.config.source import SourceConfig
from raymlops.records.delivering.pushes import BUILD, DEPLOYED, FAILED, REMOVED, CommitStatus, Push, push_subject
from raymlops.records.ledger import Ledger, LedgerEntry

__all__ = ["Builds", "SourceTrigger"]

_PREFIX = push_subject("")
_STATES = {BUILD: "pending", DEPLOYED: "success", FAILED: "failure"}


class Builds(Protocol):
    """The jobs that build and deploy commits."""

    def start(self, push: Push) -> None:
        """Start the job of a push; a second call finds it started."""
        ...

    def end_of(self, push: Push) -> str | None:
        """Why its job has ended; ``None`` as long as it goes on."""
        ...

    def stop(self, push: Push) -> None:
        """Stop its job."""
        ...


class SourceTrigger:
    """Starts one build for each new head of a watched branch, one at a time. Not thread-safe.

    A commit is in the ledger before its job starts, and the job writes there how it ended; a job that ended without
    a word is told by this. What was pushed meanwhile is built next, its newest commit alone.

    Args:
        config: Which branches go where.
        ledger: It records the builds.
        heads: Asks the repository for the commit of each branch.
        builds: Build and deploy.
        remove: Ends all that an environment has; may be called again.
        tell: Called with what became of a commit, whenever that changes.
        time_s: Monotonic seconds.
    """

    def __init__(
        self,
        config: SourceConfig,
        ledger: Ledger,
        heads: Callable[[], Mapping[str, str]],
        builds: Builds,
        *,
        remove: Callable[[str], None],
        tell: Callable[[CommitStatus], object],
        time_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self._ledger = ledger
        self._heads = heads
        self._builds = builds
        self._remove = remove
        self._tell = tell
        self._time_s = time_s
        self._read = 0
        self._last: dict[str, LedgerEntry] = {}
        self._began: dict[int, float] = {}

    def turn(self) -> None:
        """Look after the build under way; where there is none, look for what is to be built or removed.

        Raises:
            UnavailableError: The repository, or the job service, cannot be reached.
        """
        self._catch_up()
        under_way = next((entry for entry in self._last.values() if entry.action == BUILD), None)
        if under_way is not None:
            self._look_after(Push.of(under_way))
            return
        heads = self._heads()
        for branch in sorted(heads, key=self._turn_of):
            environment, last = self._config.environment_of(branch), self._last.get(branch)
            if environment is None or (last is not None and _is_done(last, heads[branch], environment)):
                continue
            self._build(branch, heads[branch], environment, 0 if last is None else last.sequence)
            return
        for branch in sorted(self._last.keys() - heads.keys()):
            self._forget(branch, self._last[branch])

    def _turn_of(self, branch: str) -> tuple[int, str]:
        """Whose last word is the oldest comes first: a branch that is pushed to all the time holds up no other."""
        last = self._last.get(branch)
        return (0 if last is None else last.sequence, branch)

    @property
    def statuses(self) -> tuple[CommitStatus, ...]:
        """The status of the newest commit of each branch."""
        told = (_status_of(self._last[branch]) for branch in sorted(self._last))
        return tuple(status for status in told if status is not None)

    def _catch_up(self) -> None:
        for entry in self._ledger.entries(after=self._read):
            if entry.subject.startswith(_PREFIX):
                self._last[entry.subject.removeprefix(_PREFIX)] = entry
                status = _status_of(entry)
                if status is not None:
                    self._tell(status)
            self._read = entry.sequence

    def _build(self, branch: str, commit: str, environment: str, after: int) -> None:
        facts = {"branch": branch, "commit": commit, "environment": environment}
        key = f"{BUILD}:{branch}:{commit}:{environment}:after:{after}"
        reason = f"{branch} came to {commit[:12]}"
        self._builds.start(Push.of(self._ledger.append_entry(push_subject(branch), BUILD, reason, facts, key=key)))
        self._catch_up()

    def _look_after(self, push: Push) -> None:
        self._builds.start(push)  # the process that recorded the build may have been killed before it began
        end = self._builds.end_of(push)
        began, limit_s = self._began.setdefault(push.sequence, self._time_s()), self._config.build_deadline
        if end is None and self._time_s() - began > limit_s.total_seconds():
            self._builds.stop(push)
            end = f"it took longer than delivery.source.build_deadline, {limit_s.total_seconds():g} s"
        if end is not None:
            # where the job has told it before it ended, that entry stands
            self._ledger.append_entry(
                push_subject(push.branch), FAILED, f"the build ended: {end}", push.ending(), key=push.ending_key
            )
            self._catch_up()

    def _forget(self, branch: str, last: LedgerEntry) -> None:
        """Have an environment go whose branch is gone."""
        environment = str(last.evidence["environment"])
        own = self._config.has_own(branch) and self._config.environment_of(branch) == environment
        if last.action == REMOVED or not own:
            return
        self._remove(environment)
        facts = {"branch": branch, "environment": environment}
        key = f"{REMOVED}:{branch}:after:{last.sequence}"
        self._ledger.append_entry(push_subject(branch), REMOVED, f"branch {branch} is gone", facts, key=key)
        self._catch_up()


def _is_done(last: LedgerEntry, commit: str, environment: str) -> bool:
    """Whether a build of a commit for an environment has ended, with success or without."""
    evidence = last.evidence
    return last.action != REMOVED and (evidence["commit"], evidence["environment"]) == (commit, environment)


def _status_of(entry: LedgerEntry) -> CommitStatus | None:
    if entry.action not in _STATES:
        return None
    known = {name: entry.evidence.get(name) for name in ("commit", "branch", "environment", "bundle", "version")}
    return CommitStatus.model_validate(
        {**known, "state": _STATES[entry.action], "description": entry.reason, "at": entry.at}
    )
