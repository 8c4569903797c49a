"""Values on their way to a section of the configuration, and where each came from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Generic, TypeVar, get_args

import orjson
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from raymlops.config.section import Section, render_duration
from raymlops.errors import ConfigError

__all__ = ["DEFAULTS", "Draft", "FieldPath", "hide_passwords", "section_at"]

FieldPath = tuple[str, ...]
"""Names of the sections on the way to a field, and its own."""

DEFAULTS = "defaults"
"""Source of the values that are defaults."""

_PASSWORD = re.compile(r"(://[^:/@\s]*):[^@\s]*@")
_S = TypeVar("_S", bound=Section)


class Draft(Generic[_S]):
    """Values that are merged source by source, then validated; a fault names the source of its value.

    Args:
        kind: The section that becomes of them.
        prefix: What stands before the name of a field in messages.
    """

    def __init__(self, kind: type[_S], prefix: FieldPath = ()) -> None:
        self._kind = kind
        self._prefix = prefix
        self.values: dict[str, Any] = {}
        self.sources: dict[FieldPath, str] = {}

    def merge(self, values: Mapping[str, Any], source: str) -> None:
        """Put values over those that are there, field by field."""
        self._merge(self.values, values, source, ())

    def source_of(self, path: FieldPath) -> str:
        """Who gave the value of a field, or of the innermost section around it."""
        known = (self.sources[path[:n]] for n in range(len(path), 0, -1) if path[:n] in self.sources)
        return next(known, DEFAULTS)

    def validate(self) -> _S:
        """The section.

        Raises:
            ConfigError: A value breaks a rule; the message names source, field, rule and value, of every fault.
        """
        # Strict, and by way of JSON: a file's "8000", yes or 1.0 is no port, but its text may be a path or an instant.
        document = orjson.dumps(self.values, default=_plain)
        try:
            return self._kind.model_validate_json(document, strict=True)
        except ValidationError as error:
            details = error.errors(include_url=False)
            lines = [self._explain(detail) for detail in details]
            fields = [".".join(map(str, (*self._prefix, *detail["loc"]))) for detail in details]
            raise ConfigError("; ".join(lines), fields=fields, faults=lines) from None

    def _merge(self, target: dict[str, Any], values: Mapping[str, Any], source: str, path: FieldPath) -> None:
        for key, value in values.items():
            here = (*path, key)
            self.sources[here] = source
            if isinstance(value, Mapping):
                if not isinstance(target.get(key), dict):
                    target[key] = {}
                self._merge(target[key], value, source, here)
            elif value is not None or section_at(self._kind, here) is None:
                target[key] = value
                self.sources = {
                    known: by for known, by in self.sources.items() if known == here or known[: len(here)] != here
                }

    def _explain(self, detail: ErrorDetails) -> str:
        path = tuple(str(part) for part in detail["loc"])
        source, name = self.source_of(path), ".".join((*self._prefix, *path))
        if detail["type"] == "extra_forbidden":
            parent = section_at(self._kind, path[:-1])
            if parent is not None and path[-1] in parent.REPLACED:
                return f"{source}: {name} {parent.REPLACED[path[-1]]}"
            known = ", ".join(sorted(parent.model_fields)) if parent else "none"
            return f"{source}: {name} is not a setting; known here: {known}"
        rule = detail["msg"].removeprefix("Value error, ").replace("Input should", "must", 1)
        if _hides_input(self._kind, path):
            return f"{source}: {name} {rule}"  # the value may hold a secret
        value = hide_passwords(repr(detail["input"]))
        return f"{source}: {name} {rule}, got {value}"


def hide_passwords(text: str) -> str:
    """A text with the passwords of the URLs in it left out."""
    return _PASSWORD.sub(r"\1:***@", text)


def section_at(kind: type[Section], path: FieldPath) -> type[Section] | None:
    """The section class that a path of field names leads to from ``kind``; ``None`` where it leads to none."""
    section = kind
    for name in path:
        known = section.model_fields.get(name)
        if known is None or not isinstance(known.annotation, type) or not issubclass(known.annotation, Section):
            return None
        section = known.annotation
    return section


def _hides_input(kind: type[Section], path: FieldPath) -> bool:
    """Whether a section on the way to a field keeps the values of its fields out of messages."""
    section: type[Section] | None = kind
    for name in path:
        if section is None:
            return False
        if section.model_config.get("hide_input_in_errors"):
            return True
        if name in section.model_fields:
            annotation = section.model_fields[name].annotation
            kinds = [annotation, *get_args(annotation)]
            section = next((each for each in kinds if isinstance(each, type) and issubclass(each, Section)), None)
    return section is not None and bool(section.model_config.get("hide_input_in_errors"))


def _plain(value: object) -> object:
    """The form that a value of ``overrides`` has in a file."""
    if isinstance(value, timedelta):
        return render_duration(value)
    return value.model_dump(mode="json") if isinstance(value, Section) else str(value)
