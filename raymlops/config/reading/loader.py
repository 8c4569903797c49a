"""Reading the configuration: a file, its environment's overlay, then ``RAYMLOPS_*`` variables."""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from raymlops.config.platform import PlatformConfig
from raymlops.config.reading.draft import Draft, FieldPath, section_at
from raymlops.errors import ConfigError
from raymlops.records.names import check_name

__all__ = ["draft_config", "load_config"]

PREFIX = "RAYMLOPS_"
_DEFAULT_FILE = Path("configs/platform.yaml")


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
    return draft_config(path, environment=environment, environ=environ, overrides=overrides).validate()


def draft_config(
    path: Path | str | None = None,
    *,
    environment: str | None = None,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Draft[PlatformConfig]:
    """As ``load_config``, and not validated yet: the draft knows where each value came from."""
    variables = os.environ if environ is None else environ
    draft = Draft(PlatformConfig)
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
    return draft


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


def _variables(variables: Mapping[str, str]) -> Iterator[tuple[str, FieldPath]]:
    """The variables that set a field, by name: ``(variable, path of the field)``."""
    for name in sorted(variables):
        if not name.startswith(PREFIX):
            continue
        rest = name.removeprefix(PREFIX).lower()
        if rest == "home" or "__" in rest:
            yield name, tuple(rest.split("__"))
            continue
        section, _, known = rest.partition("_")
        parent = section_at(PlatformConfig, (section,))
        if parent is not None and known in parent.model_fields:
            raise ConfigError(
                f"{name} sets nothing: a field is named by two underscores, {PREFIX}{section.upper()}__{known.upper()}"
            )


def _nested(path: FieldPath, value: Any) -> dict[str, Any]:
    return {path[0]: _nested(path[1:], value) if path[1:] else value}


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
