"""Reading the configuration: a file, its environment's overlay, then ``RAYMLOPS_*`` variables."""

from __future__ import annotations

import os
import re
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, get_args

import orjson
import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from raymlops.config.platform import PlatformConfig
from raymlops.config.section import Section, render_duration
from raymlops.errors import ConfigError
from raymlops.records.names import check_name

__all__ = ["load_config"]

PREFIX = "RAYMLOPS_"
_DEFAULT_FILE = Path("configs/platform.yaml")
_PASSWORD = re.compile(r"(://[^:/@\s]*):[^@\s]*@")
_FieldPath = tuple[str, ...]


def load_config(
    path: Path | str | None = None,
    *,
    environment: str | None = None,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> PlatformConfig:
    """Read the configuration. What comes later wins, field by field.

    1. The defaults in the code.
    2. ``path``, else the file ``RAYMLOPS_CONFIG`` names, else ``configs/platform.yaml`` of the working directory, if
       there is one.
    3. ``env/ENVIRONMENT.yaml`` beside that file, where ``environment`` or ``RAYMLOPS_ENV`` or the file's
       ``environment`` names one.
    4. Variables: ``RAYMLOPS_HOME``, and ``RAYMLOPS_SECTION__FIELD`` (``RAYMLOPS_CONTROL__TRIAL__WEIGHT=0.2``), each a
       YAML value.
    5. ``overrides``, nested like the file.

    Args:
        path: The file; it must exist.
        environment: Name of the overlay; its file must exist.
        environ: The variables; ``None`` reads those of the process.
        overrides: Last word, for programs and tests.

    Raises:
        ConfigError: A file is missing or not YAML, or a value breaks a rule; the message names file, field, rule and
            value.
    """
    variables = os.environ if environ is None else environ
    draft = _Draft()
    file = _find_file(path, variables)
    if file is not None:
        draft.merge(_read_yaml(file), str(file))
    environment = environment or variables.get(f"{PREFIX}ENV") or None
    named = environment or draft.values.get("environment")
    if named is not None:
        overlay = _overlay_of(file, named)
        if environment is not None or overlay.exists():
            draft.merge(_read_yaml(overlay), str(overlay))
        draft.merge({"environment": named}, "environment")
    for name, dotted in _variables(variables):
        draft.merge(_nested(dotted, _read_scalar(name, variables[name])), name)
    draft.merge(overrides or {}, "overrides")
    return draft.validate()


@dataclass
class _Draft:
    """Values on their way to a ``PlatformConfig``, and where each came from."""

    values: dict[str, Any] = field(default_factory=dict)
    sources: dict[_FieldPath, str] = field(default_factory=dict)

    def merge(self, values: Mapping[str, Any], source: str) -> None:
        self._merge(self.values, values, source, ())

    def _merge(self, target: dict[str, Any], values: Mapping[str, Any], source: str, path: _FieldPath) -> None:
        for key, value in values.items():
            here = (*path, key)
            self.sources[here] = source
            if isinstance(value, Mapping):
                if not isinstance(target.get(key), dict):
                    target[key] = {}
                self._merge(target[key], value, source, here)
            elif value is not None or not _is_section(here):
                target[key] = value

    def validate(self) -> PlatformConfig:
        # Strict, and by way of JSON: a file's "8000", yes or 1.0 is no port, but its text may be a path or an instant.
        document = orjson.dumps(self.values, default=_plain)
        try:
            return PlatformConfig.model_validate_json(document, strict=True)
        except ValidationError as error:
            details = error.errors(include_url=False)
            lines = [self._explain(detail) for detail in details]
            raise ConfigError("; ".join(lines), fields=[".".join(map(str, d["loc"])) for d in details]) from None

    def _explain(self, detail: ErrorDetails) -> str:
        path = tuple(str(part) for part in detail["loc"])
        source = next((self.sources[path[:n]] for n in range(len(path), 0, -1) if path[:n] in self.sources), "defaults")
        name = ".".join(path)
        if detail["type"] == "extra_forbidden":
            parent = _section_at(path[:-1])
            if parent is not None and path[-1] in parent.REPLACED:
                return f"{source}: {name} {parent.REPLACED[path[-1]]}"
            known = ", ".join(sorted(parent.model_fields)) if parent else "none"
            return f"{source}: {name} is not a setting; known here: {known}"
        rule = detail["msg"].removeprefix("Value error, ").replace("Input should", "must", 1)
        if _hides_input(path):
            return f"{source}: {name} {rule}"  # the value may hold a secret
        value = _PASSWORD.sub(r"\1:***@", repr(detail["input"]))
        return f"{source}: {name} {rule}, got {value}"


def _hides_input(path: _FieldPath) -> bool:
    """Whether a section on the way to a field keeps the values of its fields out of messages."""
    section: type[Section] | None = PlatformConfig
    for name in path:
        if section is None:
            return False
        if section.model_config.get("hide_input_in_errors"):
            return True
        if name in section.model_fields:
            annotation = section.model_fields[name].annotation
            kinds = [annotation, *get_args(annotation)]
            section = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Section)), None)
    return section is not None and bool(section.model_config.get("hide_input_in_errors"))


def _section_at(path: _FieldPath) -> type[Section] | None:
    """The section class that a path of field names leads to, from the top."""
    section: type[Section] = PlatformConfig
    for name in path:
        known = section.model_fields.get(name)
        if known is None or not isinstance(known.annotation, type) or not issubclass(known.annotation, Section):
            return None
        section = known.annotation
    return section


def _is_section(path: _FieldPath) -> bool:
    return _section_at(path) is not None


def _find_file(path: Path | str | None, variables: Mapping[str, str]) -> Path | None:
    named = path or variables.get(f"{PREFIX}CONFIG")
    if named:
        return Path(named)
    return _DEFAULT_FILE if _DEFAULT_FILE.exists() else None


def _overlay_of(file: Path | None, name: object) -> Path:
    check_name("environment", name)
    return (file or _DEFAULT_FILE).parent / "env" / f"{name}.yaml"


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        document = yaml.load(path.read_text(encoding="utf-8"), Loader=_StrictLoader)  # noqa: S506 - a SafeLoader
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}", path=str(path)) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is not YAML: {' '.join(str(error).split())}", path=str(path)) from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: must hold a mapping of settings, got {type(document).__name__}", path=str(path))
    return document


def _read_scalar(name: str, text: str) -> Any:
    try:
        return yaml.load(text, Loader=_StrictLoader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        raise ConfigError(f"{name}: is not a YAML value: {' '.join(str(error).split())}, got {text!r}") from error


def _variables(variables: Mapping[str, str]) -> Iterator[tuple[str, _FieldPath]]:
    """The variables that set a field, by name: ``(variable, path of the field)``."""
    for name in sorted(variables):
        if not name.startswith(PREFIX):
            continue
        rest = name.removeprefix(PREFIX).lower()
        if rest == "home" or "__" in rest:
            yield name, tuple(rest.split("__"))
            continue
        section, _, known = rest.partition("_")
        parent = _section_at((section,))
        if parent is not None and known in parent.model_fields:
            raise ConfigError(
                f"{name} sets nothing: a field is named by two underscores, {PREFIX}{section.upper()}__{known.upper()}"
            )


def _nested(path: _FieldPath, value: Any) -> dict[str, Any]:
    return {path[0]: _nested(path[1:], value) if path[1:] else value}


def _plain(value: object) -> object:
    """The form that a value of ``overrides`` has in a file."""
    if isinstance(value, timedelta):
        return render_duration(value)
    return value.model_dump(mode="json") if isinstance(value, Section) else str(value)


class _StrictLoader(yaml.SafeLoader):
    """A ``SafeLoader`` that refuses a key given twice, and one that is no text."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(None, None, f"{key!r} names no setting", key_node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key!r} is given twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)
