"""``raymlops status`` tells of the repository that is watched."""

from __future__ import annotations

from raymlops.cli.operating.lifecycle import source_lines
from raymlops.records.delivering.pushes import CommitStatus, SourceStatus
from raymlops.testing.metadata_examples import EPOCH

FAILED = CommitStatus(
    commit="a" * 40, branch="main", environment="dev", state="failure", description="its tests must pass", at=EPOCH
)


def test_status_tells_of_a_repository_that_is_away_and_of_its_newest_commits() -> None:
    source = SourceStatus(url="/srv/a.git", problem="UnavailableError: repository /srv/a.git cannot be read")
    assert source_lines(source) == ["source: UnavailableError: repository /srv/a.git cannot be read"]
    told = source_lines(SourceStatus(url="/srv/a.git", commits=(FAILED,)))
    assert told == ["source: main at aaaaaaaaaaaa: failure: its tests must pass"]
