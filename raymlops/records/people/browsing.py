"""Records as a person pages through them: newest first, a page at a time, however many there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from raymlops.records.bundles import BundleManifest
from raymlops.records.ledger import LedgerEntry
from raymlops.records.models import ModelVersion
from raymlops.records.plans import ServingPlan
from raymlops.records.record import Instant, Record
from raymlops.records.runs import Run, RunStatus

__all__ = ["BundlePage", "EntryPage", "RecordBrowser", "RunPage", "WindowMark"]


class RunPage(Record):
    """Some runs, newest first, without their steps."""

    runs: tuple[Run, ...]
    before: str | None = None
    """Where the next page begins; ``None`` where there is none."""


class EntryPage(Record):
    """Some ledger entries, newest first."""

    entries: tuple[LedgerEntry, ...]
    before: int | None = None
    """Where the next page begins; ``None`` where there is none."""


class BundlePage(Record):
    """Some bundles, newest first."""

    bundles: tuple[BundleManifest, ...]
    before: str | None = None
    """Where the next page begins; ``None`` where there is none."""


class WindowMark(Record):
    """What a time line shows of one closed window."""

    model: str
    start: Instant
    end: Instant
    champion: int
    rows: int
    quality: str
    drifted: bool
    degraded: bool


class RecordBrowser(Protocol):
    """Pages of records. Each call costs a number of queries that does not grow with what is stored.

    Where several pipelines or subjects are named, each costs a query; of none of them, there is nothing.
    """

    def run_page(
        self,
        pipeline: str | Sequence[str] | None = None,
        status: RunStatus | str | None = None,
        before: str | None = None,
        limit: int = 50,
    ) -> RunPage:
        """Runs, of one pipeline or some, of one status, or all.

        Raises:
            DataError: ``before`` is no place in the list.
        """
        ...

    def entry_page(
        self,
        subject: str | Sequence[str] | None = None,
        action: str | None = None,
        text: str | None = None,
        before: int | None = None,
        limit: int = 50,
    ) -> EntryPage:
        """Ledger entries of one subject or some, of one action, with a text in subject, reason or evidence, or all.

        Looks through some thousands of entries at most, so that a page may hold fewer than there are further back.

        Raises:
            LedgerBroken: An entry cannot be read.
        """
        ...

    def version_page(self, model: str, before: int | None = None, limit: int = 50) -> list[ModelVersion]:
        """Versions of a model below a number, newest first."""
        ...

    def plan_page(self, model: str, before: int | None = None, limit: int = 50) -> list[ServingPlan]:
        """Plans of a model below a number, newest first."""
        ...

    def newest_plans(self, models: Sequence[str], each: int) -> list[ServingPlan]:
        """The newest plans of some models, so many of each; by model, newest first."""
        ...

    def newest_entries(self, subjects: Sequence[str], each: int) -> list[LedgerEntry]:
        """The newest ledger entries about some subjects, so many of each; by subject, newest first."""
        ...

    def newest_runs(self, pipelines: Sequence[str], each: int) -> list[Run]:
        """The newest runs of some pipelines, so many of each, without their steps; by pipeline, newest first."""
        ...

    def window_marks(self, models: Sequence[str], each: int, until: datetime | None = None) -> list[WindowMark]:
        """The newest windows of some models that start before an instant, so many of each; by model, newest first."""
        ...

    def bundle_page(
        self, pipeline: str | Sequence[str] | None = None, before: str | None = None, limit: int = 50
    ) -> BundlePage:
        """Bundles, of one pipeline, of some, or all, newest first.

        Raises:
            DataError: ``before`` is no place in the list.
        """
        ...

    def models_of_pipelines(self) -> Mapping[str, str]:
        """Pipeline -> the model it trains, of the bundles that are live somewhere."""
        ...
