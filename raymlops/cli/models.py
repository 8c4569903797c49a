"""``raymlops models ...``."""

from __future__ import annotations

import typer

from raymlops.cli.output import ConfigOption, JsonOption, one_line_errors, platform, show, show_json

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="The model registry.")


@app.command("list")
@one_line_errors
def list_versions(name: str, json: JsonOption = False, config: ConfigOption = None) -> None:
    """Versions of a model, oldest first."""
    with platform(config) as connected:
        show(connected.models.list(name), ["version", "state", "created_at", "run_id", "digest"], as_json=json)


@app.command("show")
@one_line_errors
def show_version(name: str, version: int, config: ConfigOption = None) -> None:
    """One version, whole, as JSON."""
    with platform(config) as connected:
        show_json(connected.models.get(name, version))


@app.command()
@one_line_errors
def history(name: str, json: JsonOption = False, config: ConfigOption = None) -> None:
    """Every change of the aliases, oldest first."""
    with platform(config) as connected:
        show(connected.models.history(name), ["at", "alias", "version", "previous", "reason"], as_json=json)


@app.command()
@one_line_errors
def lineage(name: str, version: int, config: ConfigOption = None) -> None:
    """Run, bundle, training set, tables and parameters behind a version, as JSON."""
    with platform(config) as connected:
        show_json(connected.models.lineage(name, version))


@app.command()
@one_line_errors
def promote(name: str, version: int, config: ConfigOption = None) -> None:
    """Make a version the champion."""
    with platform(config) as connected:
        show_json(connected.endpoints.promote(name, version))


@app.command()
@one_line_errors
def rollback(name: str, config: ConfigOption = None) -> None:
    """End the trial; without one, put the backup back."""
    with platform(config) as connected:
        show_json(connected.endpoints.rollback(name))
