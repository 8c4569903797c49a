"""News that may start a retraining besides the champion's windows: orders, a calendar, new data, new code. Pure.

Each trigger names its own occasion, so that each is decided on once, whatever the windows say meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from raymlops.config.control import CronTrigger, NewDataTrigger, TriggersConfig
from raymlops.config.cron import parse_cron
from raymlops.control.triggering.fired import Fired
from raymlops.records.bundles import BundleManifest
from raymlops.records.ledger import RETRAIN_ORDER, LedgerEntry
from raymlops.records.record import Instant, Record, sha256_of

__all__ = [
    "ORDER",
    "NewCode",
    "NewData",
    "RetrainOrder",
    "TableGrowth",
    "code_digest",
    "find_news",
    "order_of",
]

ORDER = "order"
"""Name of the trigger that a person or a program pulls."""
_SHOWN = 3


class RetrainOrder(Record):
    """A person's or a program's order of a retraining."""

    sequence: int
    """Of the ledger entry that asks."""
    at: Instant
    by: str
    via: str
    """``http`` or ``platform``."""
    reason: str


class TableGrowth(Record):
    """How a table differs from the version of it that a champion was trained on."""

    trained_version: int
    version: int
    """The newest."""
    rows: int
    """Rows that were added since; below 0 where more were removed."""


class NewData(Record):
    """New rows in the tables that a champion was trained on."""

    tables: dict[str, TableGrowth]

    @property
    def rows(self) -> int:
        """Rows that were added, over all tables that grew."""
        return sum(max(0, table.rows) for table in self.tables.values())


class NewCode(Record):
    """The deployed bundle differs from the one that a champion came from."""

    champion_bundle: str
    bundle: str
    deployed_at: Instant
    files: tuple[str, ...]
    """Files that differ; none where only the packages do."""


def order_of(entry: LedgerEntry) -> RetrainOrder | None:
    """The order that a ledger entry holds, if it holds one."""
    if entry.action != RETRAIN_ORDER:
        return None
    evidence = entry.evidence
    return RetrainOrder(
        sequence=entry.sequence,
        at=entry.at,
        by=str(evidence.get("by", "")),
        via=str(evidence.get("via", "")),
        reason=entry.reason,
    )


def code_digest(manifest: BundleManifest) -> str:
    """Equal for bundles of the same code, project and packages; when they retrain, and how they are tried, is aside."""
    files = {name: digest for name, digest in manifest.files.items() if name != "project.yaml"}
    project = manifest.project.model_copy(update={"policy": None})
    return sha256_of({"files": files, "project": project, "lock": manifest.lock_sha256})


def find_news(
    orders: Sequence[RetrainOrder],
    data: NewData | None,
    code: NewCode | None,
    *,
    champion: int,
    since: datetime,
    rows_before: int,
    now: datetime,
    config: TriggersConfig,
) -> Iterator[Fired]:
    """The triggers that fire, the strongest reason first.

    Args:
        orders: Orders that no retraining answered yet.
        data: New rows in the champion's tables.
        code: Changes of its code.
        champion: Version that serves.
        since: When it took over, or when the newest retraining started, whichever is later.
        rows_before: Rows of ``data`` that the newest retraining of this champion had already.
        now: The present instant.
        config: Which triggers there are.
    """
    if orders:
        yield _ordered(orders)
    if config.cron is not None and (due := _cron(config.cron, since, now)) is not None:
        yield due
    if config.new_code and code is not None:
        yield _new_code(code)
    if config.new_data is not None and data is not None:
        yield from _new_data(data, rows_before, champion, config.new_data)


def _ordered(orders: Sequence[RetrainOrder]) -> Fired:
    """All that wait are answered by one run."""
    newest = orders[-1]
    more = "" if len(orders) == 1 else f", and {len(orders) - 1} more"
    return Fired(
        trigger=ORDER,
        reason=f"{newest.by or 'somebody'} asks for it: {newest.reason}{more}",
        facts={"orders": [order.model_dump(mode="json") for order in orders]},
        occasion=f"order-{newest.sequence}",
    )


def _cron(cron: CronTrigger, since: datetime, now: datetime) -> Fired | None:
    due = parse_cron(cron.at, cron.zone).last(now)
    if due is None or due <= since:
        return None
    reason = f"the calendar {cron.at!r} in {cron.zone} came due at {due.isoformat()}"
    facts = {"at": cron.at, "zone": cron.zone, "due": due.isoformat()}
    return Fired(trigger="cron", reason=reason, facts=facts, occasion=f"cron-{due:%Y%m%dT%H%M%SZ}")


def _new_code(code: NewCode) -> Fired:
    told = ", ".join(code.files[:_SHOWN]) + (
        f" and {len(code.files) - _SHOWN} more" if len(code.files) > _SHOWN else ""
    )
    what = f"in {told}" if code.files else "in its packages"
    reason = f"bundle {code.bundle[:12]} differs from the champion's, {code.champion_bundle[:12]}, {what}"
    occasion = f"code-{code.bundle[:12]}-{code.deployed_at:%Y%m%dT%H%M%SZ}"
    return Fired(trigger="new_code", reason=reason, facts=code.model_dump(mode="json"), occasion=occasion)


def _new_data(data: NewData, rows_before: int, champion: int, config: NewDataTrigger) -> Iterator[Fired]:
    rows = data.rows - rows_before
    if rows < config.min_rows:
        return
    grown = {name: table for name, table in data.tables.items() if table.rows > 0}
    reason = f"{rows} new rows in {', '.join(sorted(grown))} since the last training"
    facts = {
        "rows": rows,
        "rows_since_champion": data.rows,
        "tables": {name: table.model_dump(mode="json") for name, table in sorted(grown.items())},
    }
    occasion = f"data-{champion}-{rows_before + rows // config.min_rows * config.min_rows}"
    yield Fired(trigger="new_data", reason=reason, facts=facts, occasion=occasion)
