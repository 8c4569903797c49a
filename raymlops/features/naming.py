"""Names of definitions: what is allowed, and how they are referred to."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from raymlops.errors import ConfigError

__all__ = [
    "check_column",
    "check_name",
    "check_unique",
    "check_version",
    "column_name",
    "parse_feature",
    "parse_reference",
]

_NAME = re.compile(r"[A-Za-z](?:_?[A-Za-z0-9])*")
_FEATURE = re.compile(r"(?P<view>[A-Za-z]\w*)(?:@(?P<version>[1-9]\d*))?:(?P<field>[A-Za-z]\w*)")
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
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise ConfigError(f"reference must be NAME or NAME@VERSION, got {reference!r}")
    version = match["version"]
    return match["name"], None if version is None else int(version)


def parse_feature(reference: str) -> tuple[str, int | None, str]:
    """Split ``VIEW:FIELD`` or ``VIEW@VERSION:FIELD``.

    Raises:
        ConfigError: ``reference`` is neither.
    """
    match = _FEATURE.fullmatch(reference)
    if match is None:
        raise ConfigError(f"feature must be VIEW:FIELD or VIEW@VERSION:FIELD, got {reference!r}")
    version = match["version"]
    return match["view"], None if version is None else int(version), match["field"]


def check_name(kind: str, name: object) -> None:
    """Names must not hold a double underscore: it parts view and field in a column name.

    Raises:
        ConfigError: the rule is broken.
    """
    if not isinstance(name, str) or _NAME.fullmatch(name) is None:
        rule = "letters, digits and single underscores, a letter first"
        raise ConfigError(f"{kind} name must be made of {rule}, got {name!r}", name=name)


def check_column(owner: str, name: object) -> None:
    """A column name must be text; those with a leading underscore are the store's own.

    Raises:
        ConfigError: the rule is broken.
    """
    if not isinstance(name, str) or not name or name.startswith(_RESERVED_PREFIX):
        raise ConfigError(f"{owner}: a column name must be text that does not start with '_', got {name!r}")


def check_unique(owner: str, names: Iterable[str]) -> None:
    """No name may appear twice.

    Raises:
        ConfigError: the rule is broken.
    """
    doubled = [name for name, count in Counter(names).items() if count > 1]
    if doubled:
        raise ConfigError(f"{owner}: names must be unique, got {doubled[0]!r} more than once")


def check_version(owner: str, version: object) -> None:
    """Versions are 1, 2, 3 ...

    Raises:
        ConfigError: the rule is broken.
    """
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ConfigError(f"{owner}: version must be an integer of 1 or more, got {version!r}")
