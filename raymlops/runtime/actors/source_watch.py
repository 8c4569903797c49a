"""Watches the git repository of the configuration, in a thread that nothing else waits for."""

from __future__ import annotations

import os
from pathlib import Path

from raymlops.clock import Clock
from raymlops.config.platform import PlatformConfig
from raymlops.control.triggering.source import SourceTrigger
from raymlops.delivery.git.remote import RemoteRepository
from raymlops.metadata import Metadata
from raymlops.records.delivering.pushes import CommitStatus, SourceStatus
from raymlops.runtime.cluster.deadlines import within
from raymlops.runtime.cluster.threads import Repeating
from raymlops.runtime.jobs.build_jobs import JobBuilds
from raymlops.runtime.jobs.delivery_operator import DeliveryOperator

__all__ = ["SourceWatch", "write_status"]


class SourceWatch:
    """Looks at the branches again and again, where the configuration names a repository; tells how that goes.

    Args:
        config: The platform's configuration.
        metadata: All stores.
        clock: Dates the records.
    """

    def __init__(self, config: PlatformConfig, metadata: Metadata, clock: Clock) -> None:
        self._source = source = config.delivery.source
        if source is None:
            return
        repository, delivery = RemoteRepository(source, os.environ), DeliveryOperator(config, metadata, clock)
        timeout_s = source.timeout.total_seconds()
        self._trigger = SourceTrigger(
            source,
            metadata.ledger,
            lambda: within(timeout_s, f"reading repository {source.url}", repository.heads),
            JobBuilds(config.home),
            remove=delivery.remove_environment,
            tell=lambda status: write_status(config.home, status),
        )
        self._thread = Repeating("source", self._trigger.turn, source.every.total_seconds())

    def status(self) -> SourceStatus | None:
        """How it stands; ``None`` where no repository is watched."""
        if self._source is None:
            return None
        return SourceStatus(url=self._source.url, problem=self._thread.problem, commits=self._trigger.statuses)


def write_status(home: Path, status: CommitStatus) -> Path:
    """Publish the status of a commit for the people and programs that pushed it, in one atomic write.

    Returns:
        ``commits/COMMIT.json`` in the home; a commit that several branches came to has the newest.
    """
    place = home / "commits" / f"{status.commit}.json"
    place.parent.mkdir(mode=0o700, exist_ok=True)
    draft = place.with_name(f".{place.name}.{os.getpid()}")
    draft.touch(mode=0o600)
    draft.write_text(status.model_dump_json(indent=2))
    draft.replace(place)
    return place
