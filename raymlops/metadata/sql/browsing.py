"""Pages of records. Every statement goes by an index, and reads no more rows than a page holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from heapq import merge
from itertools import islice
from typing import Any, cast

from pydantic_core import from_json
from sqlalchemy import Select, func, or_, select, union_all

from raymlops.clock import to_us
from raymlops.errors import DataError, StorageError
from raymlops.metadata.sql.deployments import bundles, deployments
from raymlops.metadata.sql.ledger import LedgerRow, entry_of, ledger_entries, select_entries
from raymlops.metadata.sql.models import version_of
from raymlops.metadata.sql.monitoring.windows import windows
from raymlops.metadata.sql.plans import plans
from raymlops.metadata.sql.schema import model_versions, runs
from raymlops.metadata.sql.store import SqlStore, decode
from raymlops.records.bundles import BundleManifest
from raymlops.records.ledger import LedgerEntry
from raymlops.records.models import ModelVersion
from raymlops.records.people.browsing import BundlePage, EntryPage, RunPage, WindowMark
from raymlops.records.plans import ServingPlan
from raymlops.records.runs import Run, RunStatus

__all__ = ["SqlRecordBrowser"]

_LOOKED_THROUGH = 5000
"""Ledger entries that one page with a filter reads at most: actions and texts have no index."""
_TOGETHER = 100
"""Parts of one statement; SQLite takes 500."""
_LARGEST = 2**63 - 1


class SqlRecordBrowser(SqlStore):
    """``RecordBrowser`` in SQL."""

    def run_page(
        self,
        pipeline: str | Sequence[str] | None = None,
        status: RunStatus | str | None = None,
        before: str | None = None,
        limit: int = 50,
    ) -> RunPage:
        wanted = select(runs.c.created_us, runs.c.sequence, runs.c.body)
        if status is not None:
            wanted = wanted.where(runs.c.status == str(status))
        if before is not None:
            created_us, sequence = _place(before)
            # only the first condition enters the index
            wanted = wanted.where(
                runs.c.created_us <= created_us, or_(runs.c.created_us < created_us, runs.c.sequence < sequence)
            )
        wanted = wanted.order_by(runs.c.created_us.desc(), runs.c.sequence.desc()).limit(limit + 1)
        with self._database.read() as connection:
            found = [connection.execute(each) for each in _each(wanted, runs.c.pipeline, pipeline)]
            rows = list(islice(merge(*found, key=lambda row: (-row[0], -row[1])), limit + 1))
        more = len(rows) > limit
        shown = rows[:limit]
        place = f"{shown[-1][0]}.{shown[-1][1]}" if more and shown else None
        return RunPage(runs=tuple(decode(Run, body) for _, _, body in shown), before=place)

    def entry_page(
        self,
        subject: str | Sequence[str] | None = None,
        action: str | None = None,
        text: str | None = None,
        before: int | None = None,
        limit: int = 50,
    ) -> EntryPage:
        wanted = select_entries().order_by(ledger_entries.c.sequence.desc()).limit(_LOOKED_THROUGH)
        if before is not None:
            wanted = wanted.where(ledger_entries.c.sequence < before)
        sought = None if text is None else text.casefold()
        found: list[LedgerRow] = []
        looked, last = 0, 0
        with self._database.read() as connection:
            rows = [
                connection.execute(each).yield_per(200) for each in _each(wanted, ledger_entries.c.subject, subject)
            ]
            for row in islice(merge(*rows, key=lambda row: -row[0]), _LOOKED_THROUGH):
                looked, last = looked + 1, row[0]
                if (action is None or row[3] == action) and (sought is None or _holds(row, sought)):
                    found.append(row)
                if len(found) == limit:
                    break
        more = looked == _LOOKED_THROUGH or len(found) == limit
        return EntryPage(entries=tuple(entry_of(row) for row in found), before=last if more and last > 1 else None)

    def version_page(self, model: str, before: int | None = None, limit: int = 50) -> list[ModelVersion]:
        wanted = select(model_versions.c.body).where(model_versions.c.name == model)
        if before is not None:
            wanted = wanted.where(model_versions.c.version < before)
        wanted = wanted.order_by(model_versions.c.version.desc()).limit(limit)
        with self._database.read() as connection:
            return [version_of(self._database, body) for body in connection.execute(wanted).scalars()]

    def plan_page(self, model: str, before: int | None = None, limit: int = 50) -> list[ServingPlan]:
        wanted = select(plans.c.body).where(plans.c.model == model)
        if before is not None:
            wanted = wanted.where(plans.c.number < before)
        return self._all(ServingPlan, wanted.order_by(plans.c.number.desc()).limit(limit))

    def newest_plans(self, models: Sequence[str], each: int) -> list[ServingPlan]:
        def newest(model: str) -> Select[Any]:
            own = select(plans.c.body).where(plans.c.model == model)
            return own.order_by(plans.c.number.desc()).limit(each)

        return [decode(ServingPlan, body) for (body,) in self._newest(newest, models)]

    def newest_entries(self, subjects: Sequence[str], each: int) -> list[LedgerEntry]:
        def newest(subject: str) -> Select[Any]:
            own = select_entries().where(ledger_entries.c.subject == subject)
            return cast("Select[Any]", own.order_by(ledger_entries.c.sequence.desc()).limit(each))

        return [entry_of(row) for row in self._newest(newest, subjects)]

    def newest_runs(self, pipelines: Sequence[str], each: int) -> list[Run]:
        def newest(pipeline: str) -> Select[Any]:
            own = select(runs.c.body).where(runs.c.pipeline == pipeline)
            return own.order_by(runs.c.created_us.desc(), runs.c.sequence.desc()).limit(each)

        return [decode(Run, body) for (body,) in self._newest(newest, pipelines)]

    def window_marks(self, models: Sequence[str], each: int, until: datetime | None = None) -> list[WindowMark]:
        def newest(model: str) -> Select[Any]:
            own = select(windows.c.body).where(windows.c.model == model)
            if until is not None:
                own = own.where(windows.c.start_us < to_us(until))
            return own.order_by(windows.c.start_us.desc()).limit(each)

        return [_mark(body) for (body,) in self._newest(newest, models)]

    def bundle_page(
        self, pipeline: str | Sequence[str] | None = None, before: str | None = None, limit: int = 50
    ) -> BundlePage:
        wanted = select(bundles.c.sequence, bundles.c.body)
        if pipeline is not None:
            names = [pipeline] if isinstance(pipeline, str) else pipeline
            wanted = wanted.where(bundles.c.pipeline.in_(names))
        if before is not None:
            wanted = wanted.where(bundles.c.sequence < _place(f"{before}.0")[0])
        with self._database.read() as connection:
            rows = connection.execute(wanted.order_by(bundles.c.sequence.desc()).limit(limit + 1)).all()
        shown = rows[:limit]
        place = str(shown[-1][0]) if len(rows) > limit and shown else None
        return BundlePage(bundles=tuple(decode(BundleManifest, body) for _, body in shown), before=place)

    def models_of_pipelines(self) -> Mapping[str, str]:
        newest = select(func.max(deployments.c.sequence)).group_by(deployments.c.environment, deployments.c.pipeline)
        live = select(deployments.c.bundle).where(deployments.c.sequence.in_(newest))
        wanted = select(bundles.c.body).where(bundles.c.digest.in_(live)).order_by(bundles.c.sequence)
        found = self._all(BundleManifest, wanted)
        return {manifest.project.name: manifest.project.model for manifest in found}

    def _newest(self, of: Any, subjects: Sequence[str]) -> Iterator[Any]:
        """The rows of one limited statement for each subject, in the order of the subjects, by few queries."""
        left = iter(subjects)
        with self._database.read() as connection:
            while batch := list(islice(left, _TOGETHER)):
                parts = [select(of(subject).subquery()) for subject in batch]
                yield from connection.execute(parts[0] if len(parts) == 1 else union_all(*parts)).all()


def _each(
    wanted: Select[*tuple[Any, ...]], column: Any, values: str | Sequence[str] | None
) -> list[Select[*tuple[Any, ...]]]:
    """One statement for all, or one for each value: an index gives the order of one value alone."""
    if values is None:
        return [wanted]
    return [wanted.where(column == value) for value in ([values] if isinstance(values, str) else dict.fromkeys(values))]


def _place(before: str) -> tuple[int, int]:
    created, dot, sequence = before.partition(".")
    try:
        place = int(created), int(sequence)
        if not dot or max(place) > _LARGEST:
            raise ValueError(before)
        return place
    except ValueError as error:
        raise DataError(f"'before' must be a place in the list, as the page before gave it, got {before!r}") from error


def _holds(row: LedgerRow, sought: str) -> bool:
    return any(sought in str(row[place]).casefold() for place in (2, 4, 5))


def _mark(body: str) -> WindowMark:
    """The few facts of a window that a time line shows: a whole record of many columns takes long to check."""
    try:
        told = from_json(body)
        return WindowMark(**{name: told[name] for name in WindowMark.model_fields})
    except (ValueError, KeyError, TypeError) as error:
        raise StorageError(f"stored WindowRecord cannot be read: {error}") from error
