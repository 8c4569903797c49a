"""The hash-chained ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TypeAlias

import orjson
from pydantic import ValidationError
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Index,
    Integer,
    Row,
    Select,
    String,
    Table,
    Text,
    bindparam,
    insert,
    select,
    update,
)

from raymlops.clock import from_us, to_us
from raymlops.errors import DataError, LedgerBroken
from raymlops.metadata.sql.schema import tables
from raymlops.metadata.sql.store import SqlStore
from raymlops.records.ledger import GENESIS, LedgerEntry
from raymlops.records.record import canonical_json

__all__ = ["LedgerRow", "SqlLedger", "entry_of", "ledger_entries", "select_entries"]

LedgerRow: TypeAlias = Row[int, int, str, str, str, str, str, str, str]

ledger_entries = Table(
    "ledger_entries",
    tables,
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("at_us", BigInteger, nullable=False),
    Column("subject", String, nullable=False),
    Column("action", String, nullable=False),
    Column("reason", Text, nullable=False),
    Column("evidence", Text, nullable=False),
    Column("key", String, unique=True, nullable=False),
    Column("previous_hash", String, nullable=False),
    Column("hash", String, nullable=False),
    Index("ledger_by_subject", "subject", "sequence"),
    Index("ledger_by_subject_and_time", "subject", "at_us", "sequence"),
)

ledger_head = Table(
    "ledger_head",
    tables,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("count", BigInteger, nullable=False),
    Column("hash", String, nullable=False),
)


def select_entries() -> Select[int, int, str, str, str, str, str, str, str]:
    """All entries, in the columns that ``entry_of`` reads."""
    columns = ledger_entries.c
    return select(
        columns.sequence,
        columns.at_us,
        columns.subject,
        columns.action,
        columns.reason,
        columns.evidence,
        columns.key,
        columns.previous_hash,
        columns.hash,
    )


# Built once: SQLAlchemy takes longer to put a statement together than SQLite to run it.
_ENTRY_BY_KEY = select_entries().where(ledger_entries.c.key == bindparam("key"))
_INSERT_ENTRY = insert(ledger_entries)
_HEAD = select(ledger_head.c.count, ledger_head.c.hash)
_MOVE_HEAD = update(ledger_head)


class SqlLedger(SqlStore):
    """``Ledger`` in SQL.

    Each entry's hash covers its fields and the hash before it. The head (count and last hash) is written in the same
    transaction, so that entries cut off at the end are missed.
    """

    def append_entry(
        self, subject: str, action: str, reason: str, evidence: Mapping[str, object] | None = None, *, key: str
    ) -> LedgerEntry:
        values = _json_values(evidence or {}, key)
        with self._database.write() as connection:
            first = connection.execute(_ENTRY_BY_KEY, {"key": key}).first()
            if first is not None:
                return entry_of(first)
            count, last_hash = _head(connection)
            draft = {
                "sequence": count + 1,
                "at": self._clock.now(),
                "subject": subject,
                "action": action,
                "reason": reason,
                "evidence": values,
                "key": key,
                "previous_hash": last_hash,
                "hash": "",
            }
            entry = _signed(draft)
            connection.execute(_INSERT_ENTRY, _to_row(entry))
            connection.execute(_MOVE_HEAD, {"count": entry.sequence, "hash": entry.hash})
            return entry

    def entries(self, subject: str | None = None, after: int = 0) -> list[LedgerEntry]:
        wanted = select_entries().where(ledger_entries.c.sequence > after).order_by(ledger_entries.c.sequence)
        if subject is not None:
            wanted = wanted.where(ledger_entries.c.subject == subject)
        with self._database.read() as connection:
            return [entry_of(row) for row in connection.execute(wanted)]

    def newest_entries(
        self, subjects: Sequence[str], limit: int, *, until: datetime | None = None
    ) -> list[LedgerEntry]:
        columns, found = ledger_entries.c, list[LedgerEntry]()
        with self._database.read() as connection:
            for subject in subjects:  # a statement each: over several subjects at once no index gives the order
                wanted = select_entries().where(columns.subject == subject)
                if until is not None:
                    wanted = wanted.where(columns.at_us <= to_us(until))
                wanted = wanted.order_by(columns.at_us.desc(), columns.sequence.desc()).limit(limit)
                found += [entry_of(row) for row in connection.execute(wanted)]
        return sorted(found, key=lambda entry: (entry.at, entry.sequence))[-limit:]

    def verify_ledger(self) -> int:
        with self._database.read() as connection:
            count, last_hash = 0, GENESIS
            for row in connection.execute(select_entries().order_by(ledger_entries.c.sequence)).yield_per(1000):
                last_hash = _verified_hash(row, count + 1, last_hash)
                count += 1
            head_count, head_hash = _head(connection)
        if count < head_count:
            raise _broken(count + 1, f"is missing: the head counts {head_count} entries, there are {count}")
        if count > head_count:
            raise _broken(head_count + 1, f"was added behind the ledger's back: the head counts {head_count} entries")
        if last_hash != head_hash:
            raise _broken(count, "was replaced: the head holds another hash")
        return count


def _signed(draft: dict[str, object]) -> LedgerEntry:
    try:
        unsigned = LedgerEntry.model_validate(draft)
        return unsigned.model_copy(update={"hash": unsigned.expected_hash()})
    except (ValidationError, TypeError) as error:
        raise DataError(f"ledger entry {draft['key']!r} must hold JSON values: {error}") from error


def _verified_hash(row: LedgerRow, sequence: int, previous_hash: str) -> str:
    if row[0] != sequence:
        raise _broken(sequence, f"is missing: {row[0]} stands in its place")
    entry = entry_of(row)
    if entry.hash != entry.expected_hash():
        raise _broken(sequence, "was altered or moved: its hash does not cover it")
    if entry.previous_hash != previous_hash:
        raise _broken(sequence, "does not follow the one before: altered, removed or reordered")
    return entry.hash


def _broken(sequence: int, what: str) -> LedgerBroken:
    return LedgerBroken(f"ledger entry {sequence} {what}", sequence=sequence)


def _head(connection: Connection) -> tuple[int, str]:
    row = connection.execute(_HEAD).first()
    if row is None:
        raise LedgerBroken("the ledger's head is missing", sequence=0)
    return row[0], row[1]


def _json_values(evidence: Mapping[str, object], key: str) -> dict[str, object]:
    # Hashed as it will be read back: a tuple as a list, an instant as its text, NaN as null.
    try:
        values: dict[str, object] = orjson.loads(canonical_json(dict(evidence)))
    except TypeError as error:
        raise DataError(f"evidence of ledger entry {key!r} must be JSON values: {error}") from error
    return values


def _to_row(entry: LedgerEntry) -> dict[str, object]:
    evidence = canonical_json(entry.evidence).decode()
    return {**entry.model_dump(exclude={"at", "evidence"}), "at_us": to_us(entry.at), "evidence": evidence}


def entry_of(row: LedgerRow) -> LedgerEntry:
    """The entry that a row holds.

    Raises:
        LedgerBroken: It cannot be read.
    """
    sequence, at_us, subject, action, reason, evidence, key, previous_hash, digest = row
    try:
        return LedgerEntry(
            sequence=sequence,
            at=from_us(at_us),
            subject=subject,
            action=action,
            reason=reason,
            evidence=orjson.loads(evidence),
            key=key,
            previous_hash=previous_hash,
            hash=digest,
        )
    except (ValueError, TypeError, OverflowError) as error:
        raise _broken(sequence, "was altered: it cannot be read") from error
