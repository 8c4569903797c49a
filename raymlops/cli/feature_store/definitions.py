"""``raymlops apply PATH``."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Annotated

import typer

from raymlops.cli.output import (
    ConfigOption,
    EnvironmentOption,
    JsonOption,
    console,
    one_line_errors,
    platform,
    printable,
    show_json,
)
from raymlops.errors import ConfigError, RaymlopsError
from raymlops.features import Definition, Entity, FeatureService, FeatureView, OnDemandView
from raymlops.records.features import ApplyReport

__all__ = ["add_to", "definitions_of", "fault_lines", "lines_of"]

_KINDS = (Entity, FeatureView, FeatureService, OnDemandView)


@one_line_errors
def apply(
    path: Annotated[Path, typer.Argument(help="Python file whose module-level definitions are applied.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")] = False,
    json: JsonOption = False,
    environment: EnvironmentOption = None,
    config: ConfigOption = None,
) -> None:
    """Apply the entities, views and services of a file, all or none.

    ``+`` is added, ``~`` changed in place, ``=`` as it was, ``!`` refused: with one of those the exit code is 1.
    """
    definitions = definitions_of(path)
    with platform(config, environment) as connected:
        try:
            report = connected.apply(*definitions, dry_run=dry_run)
        except RaymlopsError as error:
            lines = fault_lines(error)
            if not lines:
                raise
            typer.echo("\n".join(["error: nothing was applied", *map(printable, lines)]), err=True)
            raise typer.Exit(1) from error
    if json:
        show_json(report)
    else:
        for line in lines_of(report):
            console.print(line, highlight=False, soft_wrap=True)
    if report.faults:
        raise typer.Exit(1)


def definitions_of(path: Path) -> list[Definition]:
    """The definitions that a Python file binds to names, alone or in lists and tuples, each once.

    Raises:
        ConfigError: there is no such file, it raises, or it defines nothing.
    """
    if not path.is_file():
        raise ConfigError(f"{path} is not a file")
    try:
        values = runpy.run_path(str(path)).values()
    except RaymlopsError as error:
        raise ConfigError(f"{path}: {error}", **error.context) from error
    except Exception as error:
        raise ConfigError(f"{path}: running it raised {error!r}") from error
    found: list[Definition] = []
    for value in values:
        found += [one for one in (value if isinstance(value, list | tuple) else [value]) if isinstance(one, _KINDS)]
    if not found:
        raise ConfigError(f"{path} defines no entity, view or service at module level")
    return list({id(one): one for one in found}.values())


def fault_lines(error: RaymlopsError) -> list[str]:
    """The faults that an error tells, one line each; none where there is but one, which the error itself tells."""
    faults = error.context.get("faults")
    return [f"! {fault}" for fault in faults] if isinstance(faults, list) and len(faults) > 1 else []


def lines_of(report: ApplyReport) -> list[str]:
    """A report for people, one line per definition and fault."""
    changed = {change.name: change for change in report.changed}
    lines = [f"+ {name}" for name in report.added]
    for name, change in changed.items():
        told = ", ".join(f"{each.attribute}: {each.old} -> {each.new}" for each in change.attributes)
        lines.append(f"~ {name} {told}")
    lines += [f"= {name}" for name in report.unchanged if name not in changed]
    return lines + [f"! {fault}" for fault in report.faults]


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(apply)
