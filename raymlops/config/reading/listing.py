"""The settings of a configuration one by one: value, default, and who gave it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from raymlops.config.platform import PlatformConfig
from raymlops.config.reading.draft import DEFAULTS, hide_passwords, section_at
from raymlops.config.reading.loader import draft_config
from raymlops.config.section import Section
from raymlops.errors import ConfigError

__all__ = ["PROGRAM", "Setting", "list_settings", "setting_sources"]

PROGRAM = "the program, or an option of the command line"
"""Source of the values that neither files nor variables explain."""

_HIDDEN = "***"


@dataclass(frozen=True)
class Setting:
    """One setting in force."""

    name: str
    """Dotted, as in ``serving.port``."""
    value: object
    """As JSON has it; passwords in URLs, and addresses that are themselves secrets, are left out."""
    default: bool
    """Whether it is what the code says by itself."""
    source: str
    """Who gave it: a file, a variable ..."""


def list_settings(config: PlatformConfig, sources: Mapping[str, str]) -> list[Setting]:
    """Every setting by name.

    Args:
        config: In force.
        sources: As ``setting_sources`` gave them where the platform started; of a setting that is not there, only
            whether it has its default is known.
    """
    usual = dict(_leaves(PlatformConfig(home=config.home).model_dump(mode="json")))
    found = []
    for name, value in _leaves(config.model_dump(mode="json")):
        default = name in usual and usual[name] == value
        source = sources.get(name) or (DEFAULTS if default else "not known")
        found.append(Setting(name, _shown(attrgetter(name)(config), value), default, source))
    return sorted(found, key=lambda setting: setting.name)


def setting_sources(config: PlatformConfig, environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Dotted name of each setting -> who gave it, by the files and variables that this process sees.

    A source is named where its value is the one in force; what is not explained so came from the program.
    """
    try:
        draft = draft_config(environ=environ)
        told = dict(_leaves(draft.validate().model_dump(mode="json")))
    except ConfigError:  # the program gave what the files do not hold
        return {}
    return {
        name: draft.sources.get(tuple(name.split(".")), DEFAULTS) if told.get(name) == value else PROGRAM
        for name, value in _leaves(config.model_dump(mode="json"))
    }


def _shown(given: object, value: Any) -> object:
    """A value as JSON has it, without passwords in URLs, and without what a section keeps out of its ``repr``."""
    if isinstance(given, Section):
        kept = {name for name, field in type(given).model_fields.items() if field.repr or not value[name]}
        return {name: _shown(getattr(given, name), each) if name in kept else _HIDDEN for name, each in value.items()}
    if isinstance(value, list) and isinstance(given, Sequence):
        return [_shown(*pair) for pair in zip(given, value, strict=True)]
    if isinstance(value, Mapping):
        inner = given if isinstance(given, Mapping) else {}
        return {name: _shown(inner.get(name), each) for name, each in value.items()}
    return hide_passwords(value) if isinstance(value, str) else value


def _leaves(values: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        here = (*path, key)
        if isinstance(value, Mapping) and section_at(PlatformConfig, here) is not None:
            yield from _leaves(value, here)
        else:
            yield ".".join(here), value
