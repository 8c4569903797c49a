"""The policy of one model: what its project says, over what the platform says, over the defaults."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, cast

from raymlops.config.control import ControlConfig, PolicyConfig
from raymlops.config.reading.draft import DEFAULTS, Draft, FieldPath
from raymlops.errors import ConfigError
from raymlops.records.names import check_name

__all__ = ["PLATFORM", "ResolvedPolicy", "check_policy", "resolve_policy"]

PLATFORM = "platform.yaml"
"""Source of what the platform's configuration says, be it by a file or by a variable."""

_ENVIRONMENTS = "environments"
_SECTIONS = tuple(PolicyConfig.model_fields)


class ResolvedPolicy(NamedTuple):
    """A policy, and who said what of it."""

    config: ControlConfig
    """The platform's, with the model's own sections."""
    sources: dict[str, str]
    """Dotted name of each setting -> who gave its value."""


def resolve_policy(
    platform: ControlConfig, project: Mapping[str, Any] | None, environment: str, *, source: str = "project.yaml"
) -> ResolvedPolicy:
    """The policy of a model in an environment.

    Args:
        platform: What the platform's configuration says.
        project: ``policy`` of the project: sections of ``PolicyConfig``, and ``environments``: name -> such sections,
            which go before the others there. ``None``: the project says nothing.
        environment: Where the model is served.
        source: What the project is called in messages and among the sources.

    Raises:
        ConfigError: The project's policy breaks a rule; the message names source, field, rule and value.
    """
    given = platform.model_dump(mode="json", include=set(_SECTIONS))
    draft = Draft(PolicyConfig, ("policy",))
    draft.merge(given, PLATFORM)
    if project is not None:
        sections, environments = _parts(project, source)
        draft.merge(sections, source)
        draft.merge(environments.get(environment, {}), f"{source}, environment {environment}")
    policy = draft.validate()
    config = platform.model_copy(update={name: getattr(policy, name) for name in _SECTIONS})
    default, sources = dict(_leaves(PolicyConfig().model_dump(mode="json"))), {}
    for path, value in _leaves(policy.model_dump(mode="json")):
        by = draft.sources.get(path, DEFAULTS)
        as_by_default = by == PLATFORM and path in default and default[path] == value
        sources[".".join(path)] = DEFAULTS if as_by_default else by
    return ResolvedPolicy(config, sources)


def check_policy(
    project: Mapping[str, Any], platform: ControlConfig | None = None, *, name: str = "project.yaml"
) -> list[str]:
    """Every fault of a project's policy, in all environments that it names.

    Args:
        project: As of ``resolve_policy``.
        platform: What it comes on top of; left out, the defaults.
        name: What the project is called in messages.

    Returns:
        One line per fault; none where it is sound.
    """
    base = ControlConfig() if platform is None else platform
    faults: list[str] = []
    try:
        _, environments = _parts(project, name)
    except ConfigError as error:
        return [str(error)]
    for environment in ("", *environments):
        try:
            resolve_policy(base, project, environment, source=name)
        except ConfigError as error:
            faults += cast("list[str]", error.context["faults"])
    return list(dict.fromkeys(faults))


def _parts(project: Mapping[str, Any], source: str) -> tuple[dict[str, Any], Mapping[str, Mapping[str, Any]]]:
    """The sections for all environments, and those of each."""
    sections = {name: value for name, value in project.items() if name != _ENVIRONMENTS}
    environments = project.get(_ENVIRONMENTS) or {}
    if not isinstance(environments, Mapping):
        raise ConfigError(f"{source}: policy.environments must map names to sections, got {environments!r}")
    for name, value in environments.items():
        try:
            check_name("environment", name)
        except ConfigError as error:
            raise ConfigError(f"{source}: policy.environments: {error}") from error
        if not isinstance(value, Mapping):
            raise ConfigError(f"{source}: policy.environments.{name} must be a mapping of sections, got {value!r}")
    return sections, environments


def _leaves(document: Mapping[str, Any], path: FieldPath = ()) -> Iterator[tuple[FieldPath, Any]]:
    for key, value in document.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, (*path, key))
        else:
            yield (*path, key), value
