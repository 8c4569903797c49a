from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from raymlops.clock import ManualClock
from raymlops.config.source import SourceConfig
from raymlops.control.triggering.source import SourceTrigger
from raymlops.errors import UnavailableError
from raymlops.metadata import MetadataService
from raymlops.records.delivering.pushes import DEPLOYED, FAILED, CommitStatus, Push, push_subject
from raymlops.testing.metadata_examples import EPOCH

CONFIG = SourceConfig(url="/srv/a.git", branches={"main": "dev", "feature/*": "{branch}"})
A, B = "a" * 40, "b" * 40


class World:
    """A repository, jobs and environments."""

    def __init__(self, metadata: MetadataService) -> None:
        self.ledger = metadata.ledger
        self.heads: dict[str, str] = {"main": A}
        self.away = False
        self.jobs: dict[str, str | None] = {}
        self.stopped: list[str] = []
        self.removed: list[str] = []
        self.told: list[CommitStatus] = []
        self.now_s = 0.0
        self.trigger = self.restarted()

    def restarted(self) -> SourceTrigger:
        self.trigger = SourceTrigger(
            CONFIG,
            self.ledger,
            self._read,
            self,
            remove=self.removed.append,
            tell=self.told.append,
            time_s=lambda: self.now_s,
        )
        return self.trigger

    def _read(self) -> dict[str, str]:
        if self.away:
            raise UnavailableError("repository /srv/a.git cannot be read")
        return dict(self.heads)

    def start(self, push: Push) -> None:
        self.jobs.setdefault(push.job, None)

    def end_of(self, push: Push) -> str | None:
        return self.jobs[push.job]

    def stop(self, push: Push) -> None:
        self.stopped.append(push.job)

    def end(self, action: str, bundle: str | None = None) -> None:
        """The job under way writes how it ended, and ends."""
        push = Push.of(self.ledger.entries()[-1])
        self.ledger.append_entry(
            push_subject(push.branch), action, "its end", push.ending(bundle, 3), key=push.ending_key
        )
        self.jobs[push.job] = "its job is over"

    def actions(self) -> list[tuple[str, str]]:
        return [(entry.subject, entry.action) for entry in self.ledger.entries()]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with closing(MetadataService(tmp_path / "metadata.db", clock=ManualClock(EPOCH))) as metadata:
        yield World(metadata)


def test_a_commit_is_built_once(world: World) -> None:
    for _ in range(3):
        world.trigger.turn()
    assert world.actions() == [("source:main", "build_commit")]
    assert len(world.jobs) == 1
    world.end(DEPLOYED, "d" * 64)
    for _ in range(3):
        world.trigger.turn()
    assert len(world.jobs) == 1
    assert [(each.state, each.bundle, each.version) for each in world.told] == [
        ("pending", None, None),
        ("success", "d" * 64, 3),
    ]
    assert world.trigger.statuses == (world.told[-1],)


def test_a_failure_is_told_once_and_not_repeated(world: World) -> None:
    world.trigger.turn()
    world.end(FAILED)
    for _ in range(3):
        world.trigger.turn()
    world.restarted().turn()
    assert world.actions() == [("source:main", "build_commit"), ("source:main", "commit_failed")]
    assert len(world.jobs) == 1
    world.heads["main"] = B
    world.trigger.turn()
    assert len(world.jobs) == 2


def test_a_job_that_ended_without_a_word_failed(world: World) -> None:
    world.trigger.turn()
    (job,) = world.jobs
    world.jobs[job] = "its job is failed: killed"
    world.trigger.turn()
    entry = world.ledger.entries()[-1]
    assert (entry.action, entry.reason) == ("commit_failed", "the build ended: its job is failed: killed")


def test_what_the_job_said_itself_stands(world: World) -> None:
    world.trigger.turn()
    world.end(DEPLOYED)  # after this look at the ledger, before the one at the job
    world.trigger._look_after(Push.of(world.ledger.entries()[0]))
    assert [action for _, action in world.actions()] == ["build_commit", "commit_deployed"]


def test_a_build_that_takes_too_long_is_stopped(world: World) -> None:
    world.trigger.turn()
    world.trigger.turn()
    world.now_s = 3601.0
    world.trigger.turn()
    assert world.stopped == list(world.jobs)
    assert "longer than delivery.source.build_deadline, 3600 s" in world.ledger.entries()[-1].reason


def test_the_newest_of_what_was_pushed_meanwhile_is_built_next(world: World) -> None:
    world.trigger.turn()
    world.heads["main"] = "c" * 40
    world.trigger.turn()
    world.heads["main"] = B
    world.trigger.turn()
    assert len(world.jobs) == 1, "one at a time"
    world.end(DEPLOYED)
    world.trigger.turn()
    assert world.ledger.entries()[-1].evidence["commit"] == B
    world.end(DEPLOYED)
    world.heads["main"] = A
    world.trigger.turn()
    assert world.ledger.entries()[-1].evidence["commit"] == A, "a branch may be set back"


def test_a_start_that_was_cut_off_is_made_up_for(world: World) -> None:
    world.trigger.turn()
    world.jobs.clear()  # killed after the entry, before the job
    world.restarted().turn()
    assert len(world.jobs) == 1
    assert len(world.actions()) == 1


def test_a_repository_that_is_away_changes_nothing(world: World) -> None:
    world.heads["feature/x"] = B
    for _ in range(2):
        world.trigger.turn()
        world.end(DEPLOYED)
    world.away = True
    with pytest.raises(UnavailableError, match="cannot be read"):
        world.trigger.turn()
    assert world.removed == []
    world.away = False
    world.trigger.turn()
    assert len(world.jobs) == 2


def test_a_branch_has_an_environment_of_its_own_which_goes_with_it(world: World) -> None:
    world.heads = {"feature/x": A, "other": B}
    world.trigger.turn()
    own = str(CONFIG.environment_of("feature/x"))
    assert world.ledger.entries()[-1].evidence["environment"] == own
    world.end(DEPLOYED)
    world.heads = {"other": B}
    for _ in range(3):
        world.trigger.turn()
    assert world.removed == [own]
    assert world.actions()[-1] == ("source:feature/x", "environment_removed")
    assert world.trigger.statuses == ()
    world.heads = {"feature/x": A}
    world.trigger.turn()
    assert len(world.jobs) == 2, "a branch that is back is built anew"


def test_the_environment_of_several_branches_stays(world: World) -> None:
    world.trigger.turn()
    world.end(DEPLOYED)
    world.heads = {"other": B}
    world.trigger.turn()
    assert world.removed == []


def test_a_branch_that_is_pushed_to_all_the_time_holds_up_no_other(world: World) -> None:
    world.heads = {"feature/a": A, "main": A}
    for number in range(3):
        world.trigger.turn()
        world.end(DEPLOYED)
        world.heads["feature/a"] = str(number) * 40
    built = [entry.subject for entry in world.ledger.entries() if entry.action == "build_commit"]
    assert built == ["source:feature/a", "source:main", "source:feature/a"]
