"""``raymlops apply PATH``."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Annotated

import typer

from raymlops.cli.output import ConfigOption, JsonOption, console, one_line_errors, platform, show_json
from raymlops.errors import ConfigError
from raymlops.features import Definition, Entity, FeatureService, FeatureView, OnDemandView

__all__ = ["add_to"]

_KINDS = (Entity, FeatureView, FeatureService, OnDemandView)


@one_line_errors
def apply(
    path: Annotated[Path, typer.Argument(help="Python file whose module-level definitions are applied.")],
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Apply the entities, views and services of a file, all or none."""
    if not path.is_file():
        raise ConfigError(f"{path} is not a file")
    found: list[Definition] = []
    for value in runpy.run_path(str(path)).values():
        found += [one for one in (value if isinstance(value, list | tuple) else [value]) if isinstance(one, _KINDS)]
    definitions = list({id(one): one for one in found}.values())
    if not definitions:
        raise ConfigError(f"{path} defines no entity, view or service at module level")
    with platform(config) as connected:
        report = connected.apply(*definitions)
    if json:
        show_json({"added": list(report.added), "unchanged": list(report.unchanged)})
        return
    for name in report.added:
        console.print(f"added      {name}")
    for name in report.unchanged:
        console.print(f"unchanged  {name}")


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(apply)
