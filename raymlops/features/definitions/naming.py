"""References to definitions, and rules for column names and texts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from raymlops.errors import ConfigError

__all__ = [
    "check_cases",
    "check_column",
    "check_text",
    "check_unique",
    "check_version",
    "column_name",
    "items_of",
    "mapping_of",
    "parse_feature",
    "parse_reference",
    "seen_as",
]

_FEATURE = re.compile(r"(?P<view>[A-Za-z]\w*)(?:@(?P<version>[1-9]\d*))?:(?P<field>[^_].*)")
_REFERENCE = re.compile(r"(?P<name>[A-Za-z]\w*)(?:@(?P<version>[1-9]\d*))?")
_RESERVED_PREFIX = "_"


def column_name(view: str, feature: str) -> str:
    """Name of the column that holds feature ``feature`` of view ``view``."""
    return f"{view}__{feature}"


def parse_reference(reference: str) -> tuple[str, int | None]:
    """Split ``NAME`` or ``NAME@VERSION``.

    Raises:
        ConfigError: ``reference`` is neither.
    """
    match = _REFERENCE.fullmatch(reference) if isinstance(reference, str) else None
    if match is None:
        raise ConfigError(f"reference must be NAME or NAME@VERSION, got {reference!r}")
    version = match["version"]
    return match["name"], None if version is None else int(version)


def parse_feature(reference: str) -> tuple[str, int | None, str]:
    """Split ``VIEW:FIELD`` or ``VIEW@VERSION:FIELD``.

    Raises:
        ConfigError: ``reference`` is neither.
    """
    match = _FEATURE.fullmatch(reference) if isinstance(reference, str) else None
    if match is None:
        raise ConfigError(f"feature must be VIEW:FIELD or VIEW@VERSION:FIELD, got {reference!r}")
    version = match["version"]
    return match["view"], None if version is None else int(version), match["field"]


def seen_as(reference: str) -> str:
    """The name by which an on-demand function sees an input: ``VIEW__FIELD`` for a feature."""
    if ":" not in reference:
        return reference
    view, _, field = parse_feature(reference)
    return column_name(view, field)


def check_column(owner: str, name: object) -> None:
    """A column name must be text of one line; those with a leading underscore are the store's own.

    Raises:
        ConfigError: the rule is broken.
    """
    if not isinstance(name, str) or not name or name.startswith(_RESERVED_PREFIX):
        raise ConfigError(f"{owner}: a column name must be text that does not start with '_', got {name!r}")
    check_text(owner, "a column name", name)
    if not name.isprintable() or name != name.strip():
        raise ConfigError(f"{owner}: a column name must be printable, without blanks at its ends, got {name!r}")


def check_text(owner: str, what: str, value: object) -> None:
    """Text must be Unicode that can be written down.

    Raises:
        ConfigError: the rule is broken.
    """
    try:
        if isinstance(value, str) and value.encode() is not None:
            return
    except UnicodeEncodeError:
        pass
    raise ConfigError(f"{owner}: {what} must be text, got {value!r}")


def items_of(owner: str, what: str, value: Any, kind: type) -> tuple[Any, ...]:
    """The items of a list or tuple, all of one kind.

    Raises:
        ConfigError: it is neither, or an item is of another kind.
    """
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise ConfigError(f"{owner}: {what} must be a list, got {value!r}")
    items = tuple(value)
    for item in items:
        if not isinstance(item, kind):
            raise ConfigError(f"{owner}: {what} must hold {kind.__name__} only, got {item!r}")
    return items


def mapping_of(owner: str, what: str, value: Any) -> dict[str, Any]:
    """A mapping of texts to texts, as a dictionary.

    Raises:
        ConfigError: it is none.
    """
    if not isinstance(value, Mapping):
        raise ConfigError(f"{owner}: {what} must be a mapping, got {value!r}")
    for key, text in value.items():
        check_text(owner, f"a key of {what}", key)
        check_text(owner, f"{what}[{key!r}]", text)
    return dict(value)


def check_unique(owner: str, names: Iterable[str]) -> None:
    """No name may appear twice.

    Raises:
        ConfigError: the rule is broken.
    """
    doubled = [name for name, count in Counter(names).items() if count > 1]
    if doubled:
        raise ConfigError(f"{owner}: names must be unique, got {doubled[0]!r} more than once")


def check_cases(owner: str, names: Iterable[str]) -> None:
    """No two column names may differ by the case of letters alone: a Delta table does not tell them apart.

    Raises:
        ConfigError: the rule is broken.
    """
    known: dict[str, str] = {}
    for name in names:
        other = known.setdefault(name.lower(), name)
        if other != name:
            rule = "column names must differ by more than the case of letters"
            raise ConfigError(f"{owner}: {rule}, got {other!r} and {name!r}")


def check_version(owner: str, version: object) -> None:
    """Versions are 1, 2, 3 ...

    Raises:
        ConfigError: the rule is broken.
    """
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ConfigError(f"{owner}: version must be an integer of 1 or more, got {version!r}")
