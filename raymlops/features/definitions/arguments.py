"""Checks of callers' arguments."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime

from raymlops.clock import to_us
from raymlops.errors import ConfigError, DataError, SchemaMismatch

__all__ = ["check_free", "check_table_version", "instant_us", "pinned_tables"]


def check_free(owner: str, given: Iterable[str], features: Iterable[str]) -> None:
    """Refuse a column that has the name of a feature to be added.

    Raises:
        SchemaMismatch: one has.
    """
    taken = set(given)
    for name in features:
        if name in taken:
            raise SchemaMismatch(f"{owner}: column {name!r} is the name of a feature, rename it", column=name)


def pinned_tables(given: object, known: Collection[str]) -> dict[str, int]:
    """Table -> version, as a caller pins them.

    Raises:
        ConfigError: it is no mapping, a table is not known, or a version is no number.
    """
    if not isinstance(given, Mapping | None):
        raise ConfigError(f"table_versions must be a mapping, got {given!r}")
    pinned = dict(given or {})
    for table, version in pinned.items():
        check_table_version(f"table_versions[{table!r}]", version)
    unknown = sorted(pinned.keys() - set(known))
    if unknown:
        raise ConfigError(f"table_versions must name tables of applied views, got {unknown}", tables=unknown)
    return pinned


def check_table_version(owner: str, version: object) -> None:
    """Refuse a table version that is not a whole number.

    Raises:
        ConfigError: it is none.
    """
    if not isinstance(version, int) or isinstance(version, bool):
        raise ConfigError(f"{owner}: a table's version must be an integer, got {version!r}")


def instant_us(name: str, given: object) -> int:
    """An instant as microseconds since 1970.

    Raises:
        DataError: it is not a datetime, or naive.
    """
    if not isinstance(given, datetime):
        raise DataError(f"{name} must be a datetime, got {given!r}")
    if given.tzinfo is None:
        raise DataError(f"{name} must be tz-aware, got {given!r}")
    return to_us(given)
